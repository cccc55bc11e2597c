//! Requests made of the pieces that parsers disagree on.

use bytes::Bytes;
use sidekey::wire::Parts;

/// Query, form, form without a type, multipart, JSON, JSON under another type.
pub(crate) const KINDS: usize = 6;
/// The first kind whose body is JSON.
pub(crate) const JSON: usize = 4;

pub(crate) fn parts(random: &mut Random, kind: usize) -> Parts {
    let mut parts = Parts {
        post: kind != 0 && !random.one_in(10),
        ..Parts::default()
    };
    if kind == 0 || random.one_in(2) {
        parts.query = pairs(random, false).into();
    }
    let (content_type, body) = match kind {
        0 => ("", Vec::new()),
        1 => (random.pick(FORMS), pairs(random, true)),
        2 => ("", [b"method=post&", &pairs(random, true)[..]].concat()),
        3 => multipart(random),
        4 => ("application/json", json(random)),
        _ => (
            random.pick(&["text/plain", "multipart/form-data", "", FORMS[0]]),
            json(random),
        ),
    };
    parts.content_type = Some(content_type)
        .filter(|text| !text.is_empty())
        .map(|text| Bytes::from_static(text.as_bytes()));
    parts.body = body.into();
    parts
}

fn pairs(random: &mut Random, body: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for pair in 0..random.below(7) {
        if pair > 0 {
            text.push(b'&');
        }
        text.extend(name(random));
        if !random.one_in(8) {
            text.push(b'=');
            for _ in 0..random.below(4) {
                text.extend_from_slice(random.pick(VALUES).as_bytes());
            }
        }
        if body && random.one_in(20) {
            text.extend_from_slice(random.pick(&["\r\n", " ", "\u{1}", "é", "{"]).as_bytes());
        }
    }
    text
}

fn name(random: &mut Random) -> Vec<u8> {
    let mut text = if random.one_in(3) {
        String::new()
    } else {
        random.pick(NAMES).to_owned()
    };
    for _ in 0..random.below(4).saturating_sub(1) {
        text.push_str(random.pick(PIECES));
    }
    if random.one_in(4) {
        text.insert_str(0, random.pick(PIECES));
    }
    text.into_bytes()
}

fn multipart(random: &mut Random) -> (&'static str, Vec<u8>) {
    let (content_type, boundary) = random.pick(BOUNDARIES);
    let mut text = String::new();
    if random.one_in(8) {
        text.push_str("preamble\r\n");
    }
    for _ in 0..=random.below(4) {
        let name = String::from_utf8(name(random))
            .unwrap_or_default()
            .replace("%5b", "[")
            .replace("%00", "");
        let disposition = random.pick(DISPOSITIONS);
        // After one file with an odd name PHP 8.2 drops all later files, so cutting the odd one brings them back.
        let is_file = disposition.contains("filename=");
        let name = if is_file {
            name.replace(['[', ']'], "")
        } else {
            name
        };
        let disposition = disposition.replace("NAME", &name);
        let others = random.pick(&[
            "",
            "",
            "",
            "Content-Type: text/plain\r\n",
            "X-Long: a;b=\"c\"\r\n",
        ]);
        let data: String = (0..random.below(4)).map(|_| random.pick(DATA)).collect();
        text.push_str(&format!(
            "--{boundary}\r\n{others}Content-Disposition: {disposition}\r\n\r\n{data}\r\n"
        ));
    }
    text.push_str(&format!(
        "--{boundary}--{}",
        random.pick(&["", "\r\n", "\r\nepilogue"])
    ));
    (content_type, mutated(random, text.into_bytes()))
}

fn json(random: &mut Random) -> Vec<u8> {
    let members: Vec<String> = (0..random.below(6))
        .map(|_| {
            let blank = random.pick(&["", "", " ", "\n\t"]);
            format!(
                "{blank}\"{}\"{blank}:{}",
                random.pick(JSON_NAMES),
                random.pick(JSON_VALUES)
            )
        })
        .collect();
    mutated(random, format!("{{{}}}", members.join(",")).into_bytes())
}

/// One change in five: a piece that parsers disagree on is put somewhere, or a byte is lost.
fn mutated(random: &mut Random, mut text: Vec<u8>) -> Vec<u8> {
    if random.one_in(5) && !text.is_empty() {
        let at = random.below(text.len());
        if random.one_in(2) {
            text.remove(at);
        } else {
            let piece = random.pick(&[
                "\r", "\n", "\r\n", "--", "\"", "'", ";", " ", "\\", "name=key", "--b", "\0", ",",
                "}",
            ]);
            text.splice(at..at, piece.bytes());
        }
    }
    text
}

/// xorshift64*: small, and the same on every machine for one seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const FORMS: &[&str] = &[
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded, text/plain",
    "Application/X-Www-Form-Urlencoded; charset=UTF-8",
];

const NAMES: &[&str] = &[
    "key",
    "key",
    "key",
    "k%65y",
    "id",
    "id",
    "action",
    "ids",
    "json",
    "debug_dump",
    "debug.dump",
    "debug",
    "x_project",
    "method",
    "a",
    "x_idempotency_key",
];

const PIECES: &[&str] = &[
    "[", "]", "[]", "[x]", ".", "+", "%20", "%00", "%5b", "%5D", "_", "%", "%2", "%zz", "dump",
    "key", "%0a", "%09", ";", "=", "%26", "%2B", "k", "-",
];

const VALUES: &[&str] = &[
    "1",
    "get",
    "K",
    "+",
    "%20",
    "%",
    "%4",
    "%41",
    "=",
    "aGk=",
    "/",
    "%00",
    "%c3%a9",
    "%ff",
    "2122988149",
    ";",
    "[",
    "{",
];

const BOUNDARIES: &[(&str, &str)] = &[
    ("multipart/form-data; boundary=b", "b"),
    (
        "multipart/form-data; boundary=----WebKitFormBoundary7MA4",
        "----WebKitFormBoundary7MA4",
    ),
    (
        "multipart/form-data; boundary=\"Upload----11/21/2026 08:53:28\"",
        "Upload----11/21/2026 08:53:28",
    ),
    ("Multipart/Form-Data;charset=utf-8;boundary=a'b", "a'b"),
];

const DISPOSITIONS: &[&str] = &[
    "form-data; name=\"NAME\"",
    "form-data; name=\"NAME\"",
    "form-data; name=\"NAME\"",
    "form-data; name=NAME",
    "form-data;name=\"NAME\";",
    "form-data; name=\"NAME\"; filename=\"c.png\"",
    "form-data; filename=\"a; name=x\"; name=\"NAME\"",
    "form-data; filename=\"a\\\"b\"; name=\"NAME\"",
    "form-data; name=\"NAME\"; filename*=UTF-8''%e2%82%ac",
    "form-data; name*=UTF-8''key; name=\"NAME\"",
    "form-data; name='NAME'",
    "FORM-DATA; NAME=\"NAME\"; x=y",
    "form-data; name=\"k\\NAME\"",
];

const DATA: &[&str] = &[
    "1",
    "get",
    "K",
    "\r\n",
    "\n",
    "--",
    "\0",
    "é",
    "2122988149",
    "--bb",
    "\r\n--",
    "key",
];

const JSON_NAMES: &[&str] = &[
    "key",
    "key",
    "\\u006bey",
    "k\\u0065y",
    "id",
    "i\\u0064",
    "action",
    "ids",
    "debug_dump",
    "x_project",
    "a",
    "Key",
    "key[]",
    "ke\\ty",
    "é",
    "x_idempotency_key",
];

const JSON_VALUES: &[&str] = &[
    "1",
    "\"1\"",
    "\"get\"",
    "\"K\"",
    "null",
    "true",
    "2122988149",
    "18446744073709551616",
    "-1",
    "\"\\u00e9\\n\\/\"",
    "{\"key\":\"x\"}",
    "[1,{\"key\":2}]",
    "[]",
    "{}",
    "\"\"",
    "\"\\ud83d\\ude00\"",
    "1.5",
    "1e3",
    " 7 ",
];
