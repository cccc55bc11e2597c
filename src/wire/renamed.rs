//! The same request about another task: a client polls a parked submit by an id of ours, and the vendor knows its own.

use bytes::{Bytes, BytesMut};
use percent_encoding::percent_encode;

use super::names::Name;
use super::splice::RESERVED;
use super::values::{Coding, Found, Value};
use super::{BadParameters, Endpoint, Message, Parts, query, sniff};

/// `to` in the place of the id `from`, wherever it counts; all other bytes stay. `to` must be printable.
pub fn renamed(
    endpoint: Endpoint,
    parts: &Parts,
    from: &str,
    to: &str,
) -> Result<Message, BadParameters> {
    let in_query = query::scan(&parts.query)?;
    let (_, in_body) = sniff::read_body(parts)?;
    let renamed = Parts {
        query: replaced(&parts.query, &in_query, from, to),
        body: replaced(&parts.body, &in_body, from, to),
        ..parts.clone()
    };
    super::read(endpoint, renamed)
}

fn replaced(container: &Bytes, found: &Found, from: &str, to: &str) -> Bytes {
    let is_from = |value: &&Value| {
        let text = value.text(container);
        text.is_some_and(|text| text.trim_ascii() == from.as_bytes())
    };
    let Some(value) = found.get(Name::Id).filter(is_from) else {
        return container.clone();
    };
    let mut text = BytesMut::with_capacity(container.len() + 3 * to.len());
    text.extend_from_slice(&container[..value.range.start]);
    write(&mut text, to, value.coding);
    text.extend_from_slice(&container[value.range.end..]);
    text.freeze()
}

fn write(text: &mut BytesMut, to: &str, coding: Coding) {
    match coding {
        Coding::Urlencoded => {
            for piece in percent_encode(to.as_bytes(), &RESERVED) {
                text.extend_from_slice(piece.as_bytes());
            }
        }
        Coding::Plain | Coding::Array => text.extend_from_slice(to.as_bytes()),
        Coding::JsonString => {
            let quoted = serde_json::Value::from(to).to_string();
            text.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
        }
        // A number stays one where the vendor's id is one.
        Coding::JsonBare if is_plain_number(to) => text.extend_from_slice(to.as_bytes()),
        Coding::JsonBare => {
            text.extend_from_slice(serde_json::Value::from(to).to_string().as_bytes());
        }
    }
}

fn is_plain_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') && text.len() <= 15
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "9000000000000007";

    fn to(parts: Parts, to: &str) -> (Bytes, Bytes, Option<String>) {
        let message = renamed(Endpoint::Result, &parts, OURS, to).unwrap();
        let parts = message.parts().clone();
        (parts.query, parts.body, message.fields().id.clone())
    }

    fn query(text: &'static str) -> Parts {
        Parts {
            query: text.into(),
            ..Parts::default()
        }
    }

    fn post(content_type: &'static str, body: &'static str) -> Parts {
        Parts {
            post: true,
            content_type: Some(content_type.into()),
            body: body.into(),
            ..Parts::default()
        }
    }

    #[test]
    fn only_the_id_changes_in_every_container() {
        let (query, _, id) = to(query("a=1&id=9000000000000007&key=k&x=%zz"), "74-ä&");
        assert_eq!(query, "a=1&id=74-%C3%A4%26&key=k&x=%zz");
        assert_eq!(id.unwrap(), "74-ä&");

        let form = "application/x-www-form-urlencoded";
        let (_, body, _) = to(post(form, "id=+9000000000000007&action=get"), "74");
        assert_eq!(body, "id=74&action=get");

        let multipart =
            "--b\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n9000000000000007\r\n--b--";
        let (_, body, id) = to(post("multipart/form-data; boundary=b", multipart), "74");
        assert_eq!(body, multipart.replace(OURS, "74"));
        assert_eq!(id.unwrap(), "74");
    }

    #[test]
    fn json_keeps_numbers_numbers_where_the_id_is_one() {
        let json = |body: &'static str, id| to(post("application/json", body), id).1;
        let bare = r#"{"key":"k","id":9000000000000007,"x":[1]}"#;
        assert_eq!(json(bare, "74"), r#"{"key":"k","id":74,"x":[1]}"#);
        assert_eq!(json(bare, "074"), r#"{"key":"k","id":"074","x":[1]}"#);
        let string = r#"{"id":"9000000000000007"}"#;
        assert_eq!(json(string, "7\"4"), r#"{"id":"7\"4"}"#);
    }

    #[test]
    fn what_php_would_not_read_as_the_id_stays() {
        let (query, _, id) = to(query("id=9000000000000007&id=9000000000000007"), "74");
        assert_eq!(query, "id=9000000000000007&id=74");
        assert_eq!(id.unwrap(), "74");
    }
}
