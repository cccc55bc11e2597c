//! Connections: accept, serve HTTP/1.1 on each, end them when the sandbox stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::calls::{self, Origin};
use super::faults::Fault;
use super::hub::Hub;
use super::wire_io::{Script, ScriptedStream};
use crate::background::Background;

pub(super) async fn accept(
    hub: Arc<Hub>,
    listener: TcpListener,
    stop: CancellationToken,
    background: Background,
) {
    let places = Arc::new(Semaphore::new(hub.config.max_connections));
    let mut count = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
            () = background.stopping() => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, or a client that left at once: neither is a reason to stop.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        count += 1;
        if let Some(rule) = hub.faults.for_connection() {
            if rule.fault == Fault::ResetConnect {
                // Closing with no linger is what sends RST in place of FIN. If it fails, the client sees a FIN.
                stream.set_zero_linger().ok();
            }
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let origin = Origin {
            connection: count,
            address: peer.ip(),
        };
        let (hub, stop, stopping) = (Arc::clone(&hub), stop.clone(), background.clone());
        background.spawn(async move {
            tokio::select! {
                () = serve(&hub, stream, origin) => {}
                () = stop.cancelled() => {}
                () = stopping.stopping() => {}
            }
            drop(place);
        });
    }
}

async fn serve(hub: &Hub, stream: TcpStream, origin: Origin) {
    // Answers are small: waiting for more to send would add 40 ms to every one.
    stream.set_nodelay(true).ok();
    let script = Arc::new(Script::default());
    let io = TokioIo::new(ScriptedStream::new(stream, Arc::clone(&script)));
    let service = service_fn(|request| {
        let script = Arc::clone(&script);
        async move {
            let response = calls::answer(hub, origin, &script, request).await;
            script.set_answered();
            Ok::<_, Infallible>(response)
        }
    });
    // No header timeout: it would fire at once in a test that pauses the clock.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let mut close_idle = hub.close_idle.subscribe();
    loop {
        tokio::select! {
            // An error here is a client that left, or a fault of our own.
            _ = connection.as_mut() => return,
            changed = close_idle.changed() => {
                if changed.is_err() || !script.is_busy() {
                    return;
                }
            }
        }
    }
}
