//! Multipart bodies as PHP takes them apart: lenient about quotes, line ends and a missing last boundary.

use memchr::memmem;

pub(super) struct Part<'a> {
    pub(super) name: Vec<u8>,
    pub(super) is_file: bool,
    pub(super) content: &'a [u8],
}

/// The boundary that a Content-Type header names: quoted up to the quote, else up to `,` or `;`.
pub(super) fn boundary(content_type: &str) -> Option<Vec<u8>> {
    let at = content_type.to_ascii_lowercase().find("boundary")?;
    let value = content_type[at..].split_once('=')?.1;
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?.0,
        None => value.split([',', ';']).next().unwrap_or_default().trim(),
    };
    (!value.is_empty()).then(|| value.as_bytes().to_vec())
}

/// Parts that have a name, in order. PHP reads nothing after a part whose disposition names none.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> impl Iterator<Item = Part<'a>> {
    let delimiter = [b"--", boundary].concat();
    let mut rest = after_delimiter(body, &delimiter);
    std::iter::from_fn(move || {
        loop {
            let part = rest?;
            if part.starts_with(b"--") {
                return None;
            }
            let end = next_delimiter(part, &delimiter);
            rest = end.map(|end| &part[end + delimiter.len()..]);
            let whole = &part[..end.unwrap_or(part.len())];
            // The line end before a boundary belongs to the boundary.
            let whole = whole.strip_suffix(b"\n").unwrap_or(whole);
            let whole = whole.strip_suffix(b"\r").unwrap_or(whole);
            match read_part(whole) {
                Ok(part) => return Some(part),
                Err(Unusable::NoDisposition) => {}
                Err(Unusable::NoName) => return None,
            }
        }
    })
}

fn after_delimiter<'a>(body: &'a [u8], delimiter: &[u8]) -> Option<&'a [u8]> {
    if body.starts_with(delimiter) {
        return Some(&body[delimiter.len()..]);
    }
    next_delimiter(body, delimiter).map(|at| &body[at + delimiter.len()..])
}

/// A delimiter counts only at the start of a line.
fn next_delimiter(body: &[u8], delimiter: &[u8]) -> Option<usize> {
    memmem::find_iter(body, delimiter).find(|at| *at > 0 && body[at - 1] == b'\n')
}

enum Unusable {
    NoDisposition,
    NoName,
}

fn read_part(whole: &[u8]) -> Result<Part<'_>, Unusable> {
    // What is left of the boundary's own line.
    let own_line = memchr::memchr(b'\n', whole).ok_or(Unusable::NoDisposition)?;
    let mut rest = &whole[own_line + 1..];
    let mut head: Vec<Vec<u8>> = Vec::new();
    loop {
        let end = memchr::memchr(b'\n', rest);
        let line = end.map_or(rest, |end| &rest[..end]);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        rest = end.map_or(&[][..], |end| &rest[end + 1..]);
        if line.is_empty() {
            break;
        }
        match head.last_mut() {
            Some(last) if line[0].is_ascii_whitespace() => last.extend_from_slice(line),
            _ => head.push(line.to_vec()),
        }
        if end.is_none() {
            break;
        }
    }
    let disposition = head
        .iter()
        .find_map(|line| header(line, b"content-disposition"))
        .ok_or(Unusable::NoDisposition)?;
    let mut name = None;
    let mut is_file = false;
    for parameter in split_outside_quotes(disposition) {
        if let Some(value) = header_parameter(parameter, b"name") {
            name = Some(value);
        } else if header_parameter(parameter, b"filename").is_some() {
            is_file = true;
        }
    }
    Ok(Part {
        name: name.ok_or(Unusable::NoName)?,
        is_file,
        content: rest,
    })
}

fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = memchr::memchr(b':', line)?;
    line[..at]
        .trim_ascii()
        .eq_ignore_ascii_case(name)
        .then(|| &line[at + 1..])
}

fn split_outside_quotes(text: &[u8]) -> Vec<&[u8]> {
    let mut quote = None;
    text.split(|b| {
        match quote {
            Some(open) if *b == open => quote = None,
            None if matches!(b, b'"' | b'\'') => quote = Some(*b),
            _ => {}
        }
        quote.is_none() && *b == b';'
    })
    .collect()
}

fn header_parameter(parameter: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let at = memchr::memchr(b'=', parameter)?;
    // A blank before the `=` belongs to the name, so `name = key` names nothing.
    if !parameter[..at]
        .trim_ascii_start()
        .eq_ignore_ascii_case(name)
    {
        return None;
    }
    let value = parameter[at + 1..].trim_ascii();
    let open = value.first().filter(|b| matches!(b, b'"' | b'\''));
    let Some(open) = open else {
        let end = value.iter().position(u8::is_ascii_whitespace);
        return Some(value[..end.unwrap_or(value.len())].to_vec());
    };
    let inner = &value[1..];
    Some(inner.strip_suffix(&[*open]).unwrap_or(inner).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &[u8]) -> Vec<(String, bool, String)> {
        let boundary = boundary(content_type).expect("a boundary");
        parts(body, &boundary)
            .map(|part| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(&part.name), part.is_file, text(part.content))
            })
            .collect()
    }

    #[test]
    fn parts_of_every_shape_are_found() {
        let body = b"preamble\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n\x89--b\r\n\x00\r\n\
            --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=key\r\n\r\nK\r\n\
            --b\nCONTENT-DISPOSITION: form-data;\n NAME='method'\n\npost\n--b--\r\nname=\"key\"";
        let found = read("multipart/form-data; boundary=b", body);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!((found[0].0.as_str(), found[0].1), ("file", true));
        assert_eq!(found[1], ("key".into(), false, "K".into()));
        assert_eq!(found[2], ("method".into(), false, "post".into()));
    }

    #[test]
    fn a_quoted_boundary_may_hold_blanks_and_slashes() {
        let body =
            b"--Upload----11/21/2026 08:53:28\r\nContent-Disposition: form-data; name=key\r\n\r\nK";
        let found = read(
            "multipart/form-data; boundary=\"Upload----11/21/2026 08:53:28\"",
            body,
        );
        assert_eq!(found, [("key".into(), false, "K".into())]);
    }

    #[test]
    fn nothing_is_read_after_a_part_without_a_name() {
        for garbled in ["form-data; name*=UTF-8''key", "form-data; name = \"key\""] {
            let body = format!(
                "--b\r\nContent-Type: text/plain\r\n\r\nskipped\r\n\
                 --b\r\nContent-Disposition: form-data; name=id\r\n\r\n1\r\n\
                 --b\r\nContent-Disposition: {garbled}\r\n\r\nA\r\n\
                 --b\r\nContent-Disposition: form-data; name=key\r\n\r\nB\r\n--b--\r\n"
            );
            let found = read("multipart/form-data; boundary=b", body.as_bytes());
            assert_eq!(found, [("id".into(), false, "1".into())], "{garbled}");
        }
    }

    #[test]
    fn no_boundary_is_no_multipart() {
        assert!(boundary("multipart/form-data").is_none());
        assert!(boundary("multipart/form-data; boundary=\"x").is_none());
    }
}
