use super::*;

fn head(text: &str) -> Parts {
    let mut lines = text.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let mut builder = hyper::Request::builder().method(method).uri(target);
    if first.next() == Some("HTTP/1.0") {
        builder = builder.version(Version::HTTP_10);
    }
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn judge(text: &str) -> Result<Gated, Violation> {
    gate(
        &head(text),
        &["2captcha.com".to_owned(), "ocr.captchaai.com".to_owned()],
    )
}

fn gated(endpoint: Endpoint, project: Option<&str>) -> Result<Gated, Violation> {
    let project = project.map(str::to_owned);
    Ok(Gated { endpoint, project })
}

#[test]
fn calls_pass() {
    let long = format!(
        "GET /in.php?body={} HTTP/1.1\nHost: a",
        "A".repeat(MAX_TARGET - 17)
    );
    let name = "n".repeat(64);
    let longest_name = format!("GET /project/{name}/res.php HTTP/1.1\nHost: a");
    for (text, want) in [
        (
            "POST /in.php HTTP/1.1\nHost: localhost:8080",
            gated(Endpoint::Submit, None),
        ),
        (
            "GET /res.php?key=a&id=1 HTTP/1.1\nHost: [::1]:8080",
            gated(Endpoint::Result, None),
        ),
        (
            "POST /solve.php HTTP/1.1\nHost: a",
            gated(Endpoint::Solve, None),
        ),
        (
            "GET /load.php HTTP/1.1\nHost: a_b.c-d",
            gated(Endpoint::Load, None),
        ),
        (
            "GET //in.php HTTP/1.1\nHost: a",
            gated(Endpoint::Submit, None),
        ),
        (
            "GET /project/ci-1/res.php HTTP/1.1\nHost: a",
            gated(Endpoint::Result, Some("ci-1")),
        ),
        (
            "GET //project//x//in.php HTTP/1.1\nHost: a",
            gated(Endpoint::Submit, Some("x")),
        ),
        (&longest_name, gated(Endpoint::Result, Some(&name))),
        (
            "GET http://2captcha.com/in.php HTTP/1.1\nHost: 2captcha.com",
            gated(Endpoint::Submit, None),
        ),
        (
            "GET http://2CAPTCHA.com:80/in.php HTTP/1.1\nHost: 2captcha.com",
            gated(Endpoint::Submit, None),
        ),
        (
            "GET http://2captcha.com/in.php HTTP/1.0",
            gated(Endpoint::Submit, None),
        ),
        (
            "GET /in.php?a=%00%0d%0a%C0%AF\\é HTTP/1.1\nHost: a",
            gated(Endpoint::Submit, None),
        ),
        ("GET /in.php HTTP/1.0", gated(Endpoint::Submit, None)),
        (
            "POST /in.php HTTP/1.1\nHost: a\nExpect: 100-Continue",
            gated(Endpoint::Submit, None),
        ),
        (
            "POST /in.php HTTP/1.1\nHost: a\nContent-Encoding: identity",
            gated(Endpoint::Submit, None),
        ),
        (
            "POST /in.php HTTP/1.1\nHost: a\nContent-Length: 0",
            gated(Endpoint::Submit, None),
        ),
        (
            "GET /in.php HTTP/1.1\nHost: a\nUpgrade: h2c\nConnection: upgrade",
            gated(Endpoint::Submit, None),
        ),
        (&long, gated(Endpoint::Submit, None)),
    ] {
        assert_eq!(judge(text), want, "{:.200}", text);
    }
}

#[test]
fn everything_else_is_refused() {
    let long_host = format!("GET /in.php HTTP/1.1\nHost: {}", "a".repeat(256));
    let long_target = format!(
        "GET /in.php?body={} HTTP/1.1\nHost: a",
        "A".repeat(MAX_TARGET)
    );
    let long_name = format!("GET /project/{}/res.php HTTP/1.1\nHost: a", "n".repeat(65));
    for (text, want) in [
        ("GET /in.php HTTP/1.1", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: a\nHost: a", Violation::Host),
        ("GET /in.php HTTP/1.0\nHost: a\nHost: b", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: ", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: a, b", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: a,b", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: user@a", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: a/in.php", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: a?b", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: a:", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: a:b", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: a:80:80", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: a:99999", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: :80", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: [::1", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: [a]", Violation::Host),
        ("GET /in.php HTTP/1.1\nHost: [::1]a", Violation::Host),
        (&long_host, Violation::Host),
        ("GET http://2captcha.com/in.php HTTP/1.1", Violation::Host),
        (
            "GET http://2captcha.com/in.php HTTP/1.1\nHost: a",
            Violation::HostDiffers,
        ),
        (
            "GET http://2captcha.com/in.php HTTP/1.1\nHost: 2captcha.com:81",
            Violation::HostDiffers,
        ),
        (
            "GET http://169.254.169.254/in.php HTTP/1.1\nHost: 169.254.169.254",
            Violation::ForeignHost,
        ),
        (
            "GET http://evil/in.php HTTP/1.1\nHost: 2captcha.com",
            Violation::ForeignHost,
        ),
        (
            "GET http://2captcha.com@evil/in.php HTTP/1.1\nHost: 2captcha.com",
            Violation::ForeignHost,
        ),
        (
            "GET http://evil@2captcha.com/in.php HTTP/1.1\nHost: 2captcha.com",
            Violation::ForeignHost,
        ),
        (
            "GET http://2captcha.com.evil/in.php HTTP/1.1\nHost: 2captcha.com.evil",
            Violation::ForeignHost,
        ),
        (
            "GET ftp://2captcha.com/in.php HTTP/1.1\nHost: 2captcha.com",
            Violation::Target,
        ),
        (
            "CONNECT 2captcha.com:443 HTTP/1.1\nHost: 2captcha.com:443",
            Violation::Connect,
        ),
        ("TRACE /in.php HTTP/1.1\nHost: a", Violation::Method),
        ("OPTIONS /in.php HTTP/1.1\nHost: a", Violation::Method),
        ("OPTIONS * HTTP/1.1\nHost: a", Violation::Method),
        ("HEAD /in.php HTTP/1.1\nHost: a", Violation::Method),
        ("get /in.php HTTP/1.1\nHost: a", Violation::Method),
        ("PRI /in.php HTTP/1.1\nHost: a", Violation::Method),
        ("GET * HTTP/1.1\nHost: a", Violation::Target),
        ("GET /in.php%00 HTTP/1.1\nHost: a", Violation::Target),
        ("GET /in.php%0d%0aX:1 HTTP/1.1\nHost: a", Violation::Target),
        ("GET /%C0%AFin.php HTTP/1.1\nHost: a", Violation::Target),
        ("GET /%7Fin.php HTTP/1.1\nHost: a", Violation::Target),
        ("GET /é/in.php HTTP/1.1\nHost: a", Violation::Target),
        ("GET /x\\in.php HTTP/1.1\nHost: a", Violation::Target),
        (&long_target, Violation::TargetTooLong),
        (
            "POST /in.php HTTP/1.1\nHost: a\nContent-Length: 00",
            Violation::Length,
        ),
        (
            "POST /in.php HTTP/1.1\nHost: a\nContent-Length: 0200",
            Violation::Length,
        ),
        (
            "POST /in.php HTTP/1.1\nHost: a\nTransfer_Encoding: chunked",
            Violation::Underscore,
        ),
        (
            "POST /in.php HTTP/1.1\nHost: a\nContent_Length: 5",
            Violation::Underscore,
        ),
        (
            "POST /in.php HTTP/1.1\nHost: a\nExpect: 200-ok",
            Violation::Expect,
        ),
        (
            "POST /in.php HTTP/1.1\nHost: a\nExpect: 100-continue\nExpect: x",
            Violation::Expect,
        ),
        (
            "POST /in.php HTTP/1.1\nHost: a\nContent-Encoding: gzip",
            Violation::Encoding,
        ),
        (
            "POST /in.php HTTP/1.1\nHost: a\nContent-Encoding: identity, gzip",
            Violation::Encoding,
        ),
        ("GET / HTTP/1.1\nHost: a", Violation::NotFound),
        ("GET / HTTP/1.1\nHost: a\nAccept: */*", Violation::NotFound),
        (
            "GET / HTTP/1.1\nHost: a\nAccept: text/html,application/xhtml+xml;q=0.9",
            Violation::NoPage,
        ),
        ("GET /IN.php HTTP/1.1\nHost: a", Violation::NotFound),
        ("GET /in.php/ HTTP/1.1\nHost: a", Violation::NotFound),
        ("GET /in.php/x HTTP/1.1\nHost: a", Violation::NotFound),
        ("GET //evil/in.php HTTP/1.1\nHost: a", Violation::NotFound),
        ("GET /in%2ephp HTTP/1.1\nHost: a", Violation::NotFound),
        ("GET /x/../in.php HTTP/1.1\nHost: a", Violation::NotFound),
        ("GET /project/in.php HTTP/1.1\nHost: a", Violation::NotFound),
        (
            "GET /project/a~b/in.php HTTP/1.1\nHost: a",
            Violation::NotFound,
        ),
        (&long_name, Violation::NotFound),
    ] {
        assert_eq!(judge(text), Err(want), "{:.200}", text);
    }
}

#[test]
fn an_answer_says_what_to_do_and_closes() {
    let answer = Violation::Connect.response();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()[ALLOW], "GET, POST");
    assert_eq!(answer.headers()[CONNECTION], "close");
    assert!(
        Violation::Connect
            .sentence()
            .starts_with("sidekey does not tunnel: set the client's base URL")
    );
    assert!(!Violation::NotFound.response().headers().contains_key(ALLOW));
}
