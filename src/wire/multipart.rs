//! Parts of a `multipart/form-data` body.
//!
//! PHP takes many odd spellings (folded headers, bare LF, single quotes, `name` twice, a missing end). Those are refused here: a part
//! that Sidekey reads otherwise than the vendor could carry a second key or another id.

use bytes::Bytes;
use memchr::memmem;

use super::names::{self, Folded};
use super::values::{Coding, Found, Value};
use super::{BadParameters, MAX_PART_HEADER, MAX_PARTS};

/// The boundary of a content type; `None` when a PHP server would find none, and so would not read the body.
pub(super) fn boundary(content_type: &Bytes) -> Result<Option<Bytes>, BadParameters> {
    // PHP takes what follows the first `boundary` anywhere in the header, and looks for other cases only if there is none.
    if memmem::find(&content_type.to_ascii_lowercase(), b"boundary").is_none() {
        return Ok(None);
    }
    let first = memmem::find(content_type, b"boundary").ok_or(BadParameters::Boundary)?;
    let before = content_type[..first].trim_ascii_end();
    let is_parameter = before.ends_with(b";") && !before.contains(&b'"');
    let value = content_type[first..]
        .strip_prefix(b"boundary=")
        .filter(|_| is_parameter);
    let value = value.ok_or(BadParameters::Boundary)?;
    let is_quoted = value.starts_with(b"\"");
    let (value, rest) = match value.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = memchr::memchr(b'"', quoted).ok_or(BadParameters::Boundary)?;
            (&quoted[..end], &quoted[end + 1..])
        }
        None => value.split_at(memchr::memchr(b';', value).unwrap_or(value.len())),
    };
    let is_plain = |b: &u8| {
        b.is_ascii_alphanumeric() || b"'()+_-./:=?".contains(b) || is_quoted && b" ,".contains(b)
    };
    let is_good =
        (1..=70).contains(&value.len()) && value.iter().all(is_plain) && !value.ends_with(b" ");
    let is_last = rest.is_empty() || rest.starts_with(b";");
    let is_only = memmem::find(&rest.to_ascii_lowercase(), b"boundary").is_none();
    if is_good && is_last && is_only {
        Ok(Some(content_type.slice_ref(value)))
    } else {
        Err(BadParameters::Boundary)
    }
}

pub(super) fn scan(body: &[u8], boundary: &[u8]) -> Result<Found, BadParameters> {
    let mut found = Found::default();
    let delimiter = [b"\n--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);

    // A preamble is allowed; the first delimiter stands at the start of a line.
    let mut at = if body.starts_with(&delimiter[1..]) {
        0
    } else {
        let first = memmem::find(body, &delimiter[1..])
            .ok_or(BadParameters::Multipart("its boundary is not in it"))?;
        if !body[..first].ends_with(b"\r\n") {
            return Err(BadParameters::Multipart("a boundary does not start a line"));
        }
        first
    };
    found.splice.insert_at = at;

    for part in 0.. {
        let behind = at + delimiter.len() - 1;
        match &body[behind..] {
            [b'-', b'-', epilogue @ ..] => {
                let is_clean = epilogue.is_empty()
                    || epilogue.starts_with(b"\r\n") && finder.find(epilogue).is_none();
                return if is_clean {
                    Ok(found)
                } else {
                    Err(BadParameters::Multipart("something follows its end"))
                };
            }
            [b'\r', b'\n', ..] => {}
            _ => return Err(BadParameters::Multipart("a boundary does not end its line")),
        }
        if part == MAX_PARTS {
            return Err(BadParameters::TooManyParts);
        }
        let header_start = behind + 2;
        let window = &body[header_start..body.len().min(header_start + MAX_PART_HEADER + 4)];
        let Some(header_len) = memmem::find(window, b"\r\n\r\n") else {
            return Err(if window.len() > MAX_PART_HEADER {
                BadParameters::PartHeaderTooLong
            } else {
                BadParameters::Multipart("a part has no end of its header")
            });
        };
        let disposition = disposition(&window[..header_len])?;

        let data_start = header_start + header_len + 4;
        let data = &body[data_start..];
        if data.starts_with(&delimiter[1..]) {
            return Err(BadParameters::Multipart(
                "a part has no line end before the next boundary",
            ));
        }
        let newline = finder
            .find(data)
            .ok_or(BadParameters::Multipart("its last boundary is missing"))?;
        if newline == 0 || data[newline - 1] != b'\r' {
            return Err(BadParameters::Multipart("a line ends with LF alone"));
        }
        let next = data_start + newline + 1;
        match names::fold_part(&disposition.name) {
            Some(Folded { name, array }) => {
                // A file is no parameter, and must be cut like one.
                if !disposition.is_file {
                    let coding = if array { Coding::Array } else { Coding::Plain };
                    found.set(
                        name,
                        Some(Value {
                            coding,
                            range: data_start..next - 2,
                        }),
                    );
                }
                if name.is_cut() {
                    found.splice.cut(name, at..next);
                } else {
                    found.splice.keep(name, at..next);
                }
            }
            None => found.splice.kept = true,
        }
        at = next;
    }
    Ok(found)
}

struct Disposition {
    name: Vec<u8>,
    is_file: bool,
}

/// The one `Content-Disposition` of a part's header lines.
fn disposition(header: &[u8]) -> Result<Disposition, BadParameters> {
    let mut disposition = None;
    let mut rest = Some(header);
    while let Some(lines) = rest {
        let line = match memmem::find(lines, b"\r\n") {
            Some(end) => {
                rest = Some(&lines[end + 2..]);
                &lines[..end]
            }
            None => {
                rest = None;
                lines
            }
        };
        let colon = memchr::memchr(b':', line)
            .ok_or(BadParameters::Multipart("a part header line has no colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // A line with `--` in front could be a boundary; a blank in the name is a folded line, which PHP joins to the one before.
        let is_token = !name.is_empty()
            && name
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
        if !is_token || name.starts_with(b"--") {
            return Err(BadParameters::Multipart("a part header has an odd name"));
        }
        if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return Err(BadParameters::Multipart("a part header has control bytes"));
        }
        if name.eq_ignore_ascii_case(b"content-disposition")
            && disposition.replace(parameters(value)?).is_some()
        {
            return Err(BadParameters::Multipart(
                "a part has two content-dispositions",
            ));
        }
    }
    disposition.ok_or(BadParameters::Multipart(
        "a part has no content-disposition",
    ))
}

/// `form-data; name="x"; filename="y"`, quoted or not.
fn parameters(value: &[u8]) -> Result<Disposition, BadParameters> {
    const ODD: BadParameters =
        BadParameters::Multipart("a content-disposition is written in an odd way");
    let value = value.trim_ascii();
    let (kind, mut rest) = value.split_at(memchr::memchr(b';', value).unwrap_or(value.len()));
    if !kind.trim_ascii_end().eq_ignore_ascii_case(b"form-data") {
        return Err(ODD);
    }
    let (mut name, mut is_file) = (None, false);
    while let Some(parameter) = rest.strip_prefix(b";") {
        let parameter = parameter.trim_ascii_start();
        if parameter.is_empty() {
            break;
        }
        let equals = memchr::memchr(b'=', parameter).ok_or(ODD)?;
        let (attribute, value) = (&parameter[..equals], &parameter[equals + 1..]);
        if !attribute
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(b))
        {
            return Err(ODD);
        }
        let is_name = attribute.eq_ignore_ascii_case(b"name");
        let (text, after) = if value.starts_with(b"\"") {
            quoted(value)
        } else {
            unquoted(attribute, value)
        }
        .ok_or(ODD)?;
        // Whether a backslash escapes what follows is the server's choice; in a name it must not matter.
        if is_name && (text.contains(&b'"') || memmem::find(&text, b"\\\\").is_some()) {
            return Err(ODD);
        }
        if is_name && name.replace(text).is_some() {
            return Err(BadParameters::Multipart("a part has two names"));
        }
        if attribute.eq_ignore_ascii_case(b"filename") && std::mem::replace(&mut is_file, true) {
            return Err(BadParameters::Multipart("a part has two file names"));
        }
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b";") {
            return Err(ODD);
        }
    }
    let name = name.ok_or(BadParameters::Multipart("a part has no name"))?;
    Ok(Disposition { name, is_file })
}

/// What is between quotes, and what follows. `\"` does not end it; `\\"` could be read in two ways.
fn quoted(value: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut end = 1;
    loop {
        end += memchr::memchr(b'"', value.get(end..)?)?;
        match &value[1..end] {
            [.., b'\\', b'\\'] => return None,
            [.., b'\\'] => end += 1,
            text => return Some((text.to_vec(), &value[end + 1..])),
        }
    }
}

/// `name=key`, as 2captcha's C# client writes it, or `filename*=UTF-8''x`, where the quotes come in a pair.
fn unquoted<'a>(attribute: &[u8], value: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
    let (text, rest) = value.split_at(memchr::memchr(b';', value).unwrap_or(value.len()));
    let text = text.trim_ascii_end();
    let is_plain = |b: &u8| b.is_ascii_graphic() && !b"\"\\(),/:<=>?@".contains(b) || *b >= 0x80;
    let single_quotes = text.iter().filter(|b| **b == b'\'').count();
    let is_good = single_quotes == 0 || single_quotes == 2 && attribute.ends_with(b"*");
    (!text.is_empty() && text.iter().all(is_plain) && is_good).then(|| (text.to_vec(), rest))
}
