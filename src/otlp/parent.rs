//! The client's `traceparent`, by W3C Trace Context. Pure.

use hyper::HeaderMap;

/// The span that the client was in. It is told to the collector alone, never to the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub trace: u128,
    pub span: u64,
    pub is_sampled: bool,
}

impl Parent {
    /// What is not by the book counts as not there: then the trace begins here.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let (first, second) = (values.next(), values.next());
        match (first, second) {
            (Some(value), None) => Self::parse(value.to_str().ok()?),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim().split('-');
        let mut next = |digits: usize| -> Option<&str> {
            let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
            fields
                .next()
                .filter(|field| field.len() == digits && field.bytes().all(is_digit))
        };
        let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        // Later versions may add fields; this one has none.
        if version == "ff" || (version == "00" && fields.next().is_some()) {
            return None;
        }
        let parent = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            is_sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (parent.trace != 0 && parent.span != 0).then_some(parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_parent_is_what_the_standard_says() {
        let parent = |is_sampled| Parent {
            trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span: 0x00f0_67aa_0ba9_02b7,
            is_sampled,
        };
        let parse = |text: String| Parent::parse(&text);
        assert_eq!(parse(format!("00-{TRACE}-{SPAN}-01")), Some(parent(true)));
        assert_eq!(parse(format!("00-{TRACE}-{SPAN}-00")), Some(parent(false)));
        assert_eq!(
            parse(format!("cc-{TRACE}-{SPAN}-03-more")),
            Some(parent(true))
        );
        for bad in [
            String::new(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-+0f067aa0ba902b7-01"),
        ] {
            assert_eq!(parse(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let mut headers = HeaderMap::new();
        let value = || format!("00-{TRACE}-{SPAN}-01").parse().unwrap();
        headers.append("traceparent", value());
        assert!(Parent::of(&headers).is_some());
        headers.append("traceparent", value());
        assert_eq!(Parent::of(&headers), None);
    }
}
