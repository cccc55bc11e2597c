use super::*;

#[test]
fn a_proxy_is_a_host_and_a_port_and_perhaps_a_password() {
    for (url, shown, authorization) in [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("http://proxy:3128/", "http://proxy:3128", None),
        ("http://[::1]:8080", "http://[::1]:8080", None),
        (
            "http://a:b@proxy:3128",
            "http://proxy:3128",
            Some("Basic YTpi"),
        ),
        (
            "http://a@proxy:3128",
            "http://proxy:3128",
            Some("Basic YTo="),
        ),
        // `a:b:c@d`
        (
            "http://a:b:c%40d@proxy:3128",
            "http://proxy:3128",
            Some("Basic YTpiOmNAZA=="),
        ),
    ] {
        let proxy = Proxy::parse(url).unwrap();
        assert_eq!(proxy.to_string(), shown, "{url}");
        let said = proxy.authorization.as_ref().map(Secret::expose);
        assert_eq!(said, authorization.map(str::as_bytes), "{url}");
    }
}

#[test]
fn what_is_no_proxy_is_refused_and_not_repeated() {
    for (url, error) in [
        ("", ProxyError::NotAUrl),
        ("proxy:3128", ProxyError::NotAUrl),
        ("http://proxy", ProxyError::Port),
        ("http://proxy:0", ProxyError::Port),
        ("http://proxy:99999", ProxyError::Port),
        ("https://proxy:3128", ProxyError::Scheme),
        ("socks5://proxy:1080", ProxyError::Scheme),
        ("http://proxy:3128/path", ProxyError::Path),
        ("http://proxy:3128?a", ProxyError::Path),
        ("http://canary%0d%0a:b@proxy:3128", ProxyError::Userinfo),
        ("http://canary%3a:b@proxy:3128", ProxyError::Userinfo),
        ("http://canary%ff:b@proxy:3128", ProxyError::Userinfo),
    ] {
        assert_eq!(Proxy::parse(url).err(), Some(error), "{url}");
    }
}

#[test]
fn a_password_is_not_printed() {
    let proxy = Proxy::parse("http://name:canary@proxy:3128").unwrap();
    for said in [format!("{proxy:?}"), proxy.to_string()] {
        assert!(!said.contains("canary") && !said.contains("name"), "{said}");
        assert!(!said.contains("Basic"), "{said}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(url in "(http://)?\\PC{0,20}|http://[a-z@:.%\\[\\]0-9/?#]{0,20}") {
        let _ = Proxy::parse(&url);
    }
}
