//! A conversation with the server.
//!
//! Each belongs to one thread, which sends a command and reads its reply to the end before the next. A reply that did not
//! come, or came wrong, ends the conversation: the next command has a connection of its own, so no reply is ever taken for
//! the answer to another question. No future holds a connection, so none can be dropped in the middle of one.

use std::time::Duration;

use redis::{Client, Cmd, Connection, ErrorKind, FromRedisValue, RedisError, RedisResult};
use tokio::time::Instant;

use super::super::Address;

pub(in super::super) struct Conversation {
    address: Address,
    connection: Option<Connection>,
    patience: Duration,
    /// Until then nobody tries to connect: those who wait in line behind a server that is down must not wait for it one by one.
    rests_until: Option<Instant>,
}

impl Conversation {
    pub(in super::super) fn new(address: &Address, patience: Duration) -> Self {
        Self {
            address: address.clone(),
            connection: None,
            patience,
            rests_until: None,
        }
    }

    pub(in super::super) fn say<T>(
        &mut self,
        say: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let reply = say(&mut connection);
        if reply.is_ok() {
            self.connection = Some(connection);
        }
        reply
    }

    /// A connection that stood idle may have been cut: what only looks may be said again. What changes something may not.
    pub(super) fn ask<T>(
        &mut self,
        mut ask: impl FnMut(&mut Connection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let stood = self.connection.is_some();
        match self.say(&mut ask) {
            Err(error) if stood && error.is_connection_dropped() => self.say(ask),
            reply => reply,
        }
    }

    fn connect(&mut self) -> RedisResult<Connection> {
        let now = Instant::now();
        if self.rests_until.is_some_and(|until| now < until) {
            return Err((ErrorKind::Io, "the server did not answer just now").into());
        }
        let connected = self.try_to_connect();
        self.rests_until = connected.is_err().then(|| Instant::now() + REST);
        connected
    }

    fn try_to_connect(&self) -> RedisResult<Connection> {
        let info = self.address.expose().ok_or_else(|| -> RedisError {
            (ErrorKind::InvalidClientConfig, "no address").into()
        })?;
        let connection = Client::open(info)?.get_connection_with_timeout(CONNECT)?;
        connection.set_read_timeout(Some(self.patience))?;
        connection.set_write_timeout(Some(self.patience))?;
        Ok(connection)
    }
}

/// A script that the server may know already.
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    pub(super) fn load(text: &'static str, connection: &mut Connection) -> RedisResult<Self> {
        let digest = redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(text)
            .query(connection)?;
        Ok(Self { text, digest })
    }

    /// A server that was restarted or flushed does not know it, says so, and has done nothing.
    pub(super) fn run<T: FromRedisValue>(
        &self,
        arguments: &[Vec<u8>],
        connection: &mut Connection,
    ) -> RedisResult<T> {
        match self
            .call("EVALSHA", &self.digest, arguments)
            .query(connection)
        {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.call("EVAL", self.text, arguments).query(connection)
            }
            reply => reply,
        }
    }

    fn call(&self, how: &str, what: &str, arguments: &[Vec<u8>]) -> Cmd {
        let mut command = redis::cmd(how);
        command.arg(what).arg(0);
        for argument in arguments {
            command.arg(argument);
        }
        command
    }
}

const CONNECT: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(250);
