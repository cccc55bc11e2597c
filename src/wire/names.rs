//! Which names mean something here, and every way to spell them that a PHP server takes for the same name.

/// A parameter that is read or cut. All others are the client's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Key,
    DebugDump,
    Project,
    IdempotencyKey,
    Action,
    Id,
    Ids,
    Json,
    HeaderAcao,
    Method,
    Version,
    Module,
    Pingback,
}

impl Name {
    pub(super) const COUNT: usize = 13;

    /// The name as it is written, without any folding.
    pub(super) fn exact(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"key" => Self::Key,
            b"debug_dump" => Self::DebugDump,
            b"x_project" => Self::Project,
            b"x_idempotency_key" => Self::IdempotencyKey,
            b"action" => Self::Action,
            b"id" => Self::Id,
            b"ids" => Self::Ids,
            b"json" => Self::Json,
            b"header_acao" => Self::HeaderAcao,
            b"method" => Self::Method,
            b"version" => Self::Version,
            b"module" => Self::Module,
            b"pingback" => Self::Pingback,
            _ => return None,
        })
    }

    /// Whether this field must not reach the vendor as the client sent it.
    ///
    /// SECURITY: `debug_dump=1` makes a vendor echo all parameters, the real key included.
    pub(super) fn is_cut(self) -> bool {
        matches!(
            self,
            Self::Key | Self::DebugDump | Self::Project | Self::IdempotencyKey
        )
    }

    /// Whether this field says only how the answer is to look.
    pub(super) fn is_about_the_answer(self) -> bool {
        matches!(self, Self::Json | Self::HeaderAcao)
    }
}

/// A name as PHP registers it. `array` is `name[]` or `name[x]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folded {
    pub(super) name: Name,
    pub(super) array: bool,
}

/// Folds the name of a pair in a query or a form.
pub(super) fn fold_urlencoded(raw: &[u8]) -> Option<Folded> {
    fold(raw, true)
}

/// Folds the name of a multipart part, which is not percent-encoded.
pub(super) fn fold_part(raw: &[u8]) -> Option<Folded> {
    fold(raw, false)
}

fn fold(raw: &[u8], urlencoded: bool) -> Option<Folded> {
    // Nearly all names are plain, and a plain name needs no copy.
    if raw
        .iter()
        .take(LONGEST + 1)
        .all(|b| b.is_ascii_alphanumeric() || *b == b'_')
    {
        return Name::exact(raw).map(|name| Folded { name, array: false });
    }
    let mut bytes = Decoded { raw, urlencoded }.skip_while(|b| *b == b' ');
    let mut buffer = [0; LONGEST];
    let mut len = 0;
    let mut array = false;
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            0 => break,
            b' ' | b'.' => b'_',
            b'[' if len == 0 => return None,
            b'[' if is_closed(bytes.clone()) => {
                array = true;
                break;
            }
            b'[' => b'_',
            other => other,
        };
        *buffer.get_mut(len)? = byte;
        len += 1;
    }
    Name::exact(&buffer[..len]).map(|name| Folded { name, array })
}

fn is_closed(rest: impl Iterator<Item = u8>) -> bool {
    rest.take_while(|b| *b != 0).any(|b| b == b']')
}

/// Percent-decoding as PHP does it: `+` is a space, and a `%` without two hex digits is itself.
#[derive(Clone)]
pub(super) struct Decoded<'a> {
    pub(super) raw: &'a [u8],
    pub(super) urlencoded: bool,
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.raw.split_first()?;
        self.raw = rest;
        if !self.urlencoded {
            return Some(first);
        }
        match (first, rest) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, rest @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    self.raw = rest;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            _ => Some(first),
        }
    }
}

pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `x_idempotency_key`
const LONGEST: usize = 17;
