//! What goes out, and what comes back.

use super::*;

#[tokio::test]
async fn a_request_is_built_from_scratch() {
    let vendor = Vendor::plays(&[&[Read, ok(), Read, ok()]]).await;
    let client = Client::new(
        &format!("{}/2captcha/", vendor.url),
        None,
        Duration::from_secs(2),
        &vendor.background,
    )
    .unwrap();
    let mut agent = submit();
    agent.user_agent = Some("old/1.0".into());
    let answer = call(&client, agent).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"OK|123"[..]));
    assert!(
        !format!("{answer:?}").contains("123"),
        "a solution is never printed"
    );
    call(&client, poll()).await.unwrap();
    let host = vendor.url.strip_prefix("http://").unwrap();
    let requests = vendor.seen.requests.lock().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&requests[0]),
        format!(
            "POST /2captcha/in.php HTTP/1.1\r\nhost: {host}\r\nuser-agent: old/1.0\r\naccept-encoding: identity\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: 48\r\n\r\nkey={KEY}&method=post"
        )
    );
    assert_eq!(
        String::from_utf8_lossy(&requests[1]),
        format!(
            "GET /2captcha/res.php?key={KEY}&action=get&id=1 HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\n\r\n"
        )
    );
    assert_eq!(vendor.seen.connections(), 1);
}

#[tokio::test]
async fn a_body_of_a_megabyte_in_pieces_arrives_whole() {
    let vendor = Vendor::plays(&[&[Read, ok()]]).await;
    let mut large = submit();
    large.body = (0..1000u32)
        .map(|piece| vec![piece as u8; 1000].into())
        .collect();
    let sent = large.body.concat();
    call(&vendor.client(), large).await.unwrap();
    let requests = vendor.seen.requests.lock().unwrap();
    assert!(requests[0].ends_with(&sent));
}

#[tokio::test]
async fn headers_that_matter_come_back() {
    let head = "HTTP/1.1 429 No\r\nContent-Type: text/html\r\nAccess-Control-Allow-Origin: *\r\nRetry-After: 7\r\n";
    let vendor = Vendor::plays(&[&[
        Read,
        Write(format!("{head}Content-Length: 0\r\n\r\n").into()),
    ]])
    .await;
    let answer = call(&vendor.client(), poll()).await.unwrap();
    assert_eq!(answer.status, 429);
    assert_eq!(answer.content_type.unwrap(), "text/html");
    assert_eq!(answer.acao.unwrap(), "*");
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let background = Background::new();
    let spawner = background.clone();
    background.spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            spawner.spawn(async move {
                while let Some(request) = request(&mut tcp).await {
                    let text = String::from_utf8(request).unwrap();
                    let id = text.split("id=").nth(1).unwrap().split(' ').next().unwrap();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nOK|{id}",
                        id.len() + 3
                    );
                    tcp.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let client = Client::new(&url, None, Duration::from_secs(2), &background).unwrap();
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let client = client.clone();
            background.spawn(async move {
                for round in 0..20 {
                    let id = format!("{number}00{round}");
                    let request = Outgoing {
                        path_and_query: format!("/res.php?id={id}").into(),
                        ..poll()
                    };
                    assert_eq!(
                        call(&client, request).await.unwrap().body,
                        format!("OK|{id}")
                    );
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert!(
        client.idle_connections() <= 64,
        "{}",
        client.idle_connections()
    );
}

#[tokio::test]
async fn a_path_that_is_none_is_not_sent() {
    let vendor = Vendor::plays(&[&[Read, ok()]]).await;
    for path in [
        "",
        "in.php",
        "http://elsewhere/",
        "/in.php?a b",
        "/in.php\r\nX: y",
        "*",
    ] {
        let request = Outgoing {
            path_and_query: path.into(),
            ..submit()
        };
        assert!(
            is_not_sent(&call(&vendor.client(), request).await),
            "{path}"
        );
    }
    assert_eq!(vendor.seen.connections(), 0);
}
