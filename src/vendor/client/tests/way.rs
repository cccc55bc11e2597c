//! Through a proxy, or back to ourselves: what the vendor did not get is never claimed as sent.

use super::*;
use crate::vendor::proxy::Proxy;

const PASSWORD: &str = "canary:p%40ss";
const ESTABLISHED: &[u8] = b"HTTP/1.0 200 Connection established\r\nVia: proxy\r\n\r\n";

fn client(url: &str, proxy: Option<&str>, loops: &Loops, background: &Background) -> Client {
    let way = Way {
        proxy: proxy.map(|url| Proxy::parse(url).unwrap()),
        ..Way::default()
    };
    let (target, patience) = (Target::parse(url).unwrap(), Duration::from_secs(2));
    let connector = Connector::new(target, None, patience, way, loops.clone()).unwrap();
    Client::over(connector, background)
}

/// Calls `vendor.invalid` by way of the proxy, which alone could know that name.
async fn through(proxy: &Vendor, request: Outgoing) -> Result<Answer, CallError> {
    let url = proxy.url.replace("http://", &format!("http://{PASSWORD}@"));
    let loops = Loops::default();
    let client = client(
        "http://vendor.invalid",
        Some(&url),
        &loops,
        &proxy.background,
    );
    call(&client, request).await
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_once_and_sees_no_name_looked_up() {
    let established = Write(ESTABLISHED.to_vec());
    let proxy = Vendor::plays(&[&[Read, established, Read, ok(), Read, ok(), Silence]]).await;
    let url = proxy.url.replace("http://", &format!("http://{PASSWORD}@"));
    let loops = Loops::default();
    let client = client(
        "http://vendor.invalid",
        Some(&url),
        &loops,
        &proxy.background,
    );
    for request in [submit(), poll()] {
        assert!(call(&client, request).await.is_ok());
    }
    let requests = proxy.seen.requests.lock().unwrap().clone();
    let [connect, submit, _] = requests.as_slice() else {
        panic!("{}", requests.len());
    };
    // `canary:p@ss` in base64.
    let expected = "CONNECT vendor.invalid:80 HTTP/1.1\r\nHost: vendor.invalid:80\r\nProxy-Authorization: Basic Y2FuYXJ5OnBAc3M=\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(connect), expected);
    let submit = String::from_utf8_lossy(submit).to_ascii_lowercase();
    assert!(submit.starts_with("post /in.php http/1.1\r\n") && !submit.contains("proxy-"));
}

#[tokio::test]
async fn without_a_tunnel_nothing_was_sent_and_the_reason_is_said() {
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 9000]].concat();
    for (answer, said) in [
        (&b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\ncanary"[..], "407"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "answered 403"),
        (b"HTTP/1.1 502 canary\r\n\r\n", "answered 502"),
        (b"HTTP/2 200\r\n\r\n", "not one of an HTTP proxy"),
        (b"SSH-2.0-canary\r\n\r\n", "not one of an HTTP proxy"),
        (&endless, "not one of an HTTP proxy"),
        (b"HTTP/1.1 200", "closed the connection"),
        (b"", "closed the connection"),
    ] {
        let proxy = Vendor::plays(&[&[Read, Write(answer.to_vec())]]).await;
        let outcome = through(&proxy, submit()).await;
        let Err(CallError::NotSent { why }) = outcome else {
            panic!("{said}: {outcome:?}");
        };
        assert!(why.contains(said) && !why.contains("canary"), "{why}");
    }
}

#[tokio::test]
async fn what_breaks_behind_the_tunnel_is_unknown() {
    let established = Write(ESTABLISHED.to_vec());
    let proxy = Vendor::plays(&[&[Read, established, Read]]).await;
    assert!(is_unknown(&through(&proxy, submit()).await));
}

#[tokio::test]
async fn a_vendor_that_is_ourselves_gets_nothing() {
    let ourselves = Vendor::plays(&[&[Read, ok()]]).await;
    let address = ourselves.url.strip_prefix("http://").unwrap();
    let loops = Loops::new(vec![address.parse().unwrap()]);
    for (url, proxy) in [
        (ourselves.url.as_str(), None),
        ("http://vendor.invalid", Some(ourselves.url.as_str())),
    ] {
        let client = client(url, proxy, &loops, &ourselves.background);
        let outcome = call(&client, submit()).await;
        let Err(CallError::NotSent { why }) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(why.contains("sidekey itself"), "{why}");
    }
    assert_eq!(ourselves.seen.copies(), 0);
}

#[tokio::test]
async fn our_end_is_known_as_long_as_the_connection_is_open() {
    let vendor = Vendor::plays(&[&[Read, ok(), Silence]]).await;
    let loops = Loops::default();
    let client = client(&vendor.url, None, &loops, &vendor.background);
    call(&client, submit()).await.unwrap();
    assert_eq!(loops.open(), 1);
    drop(client);
    assert_eq!(loops.open(), 0);
}
