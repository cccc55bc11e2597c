//! The bounded writer: a thread of its own, a queue before it, and a count of what found no room.
//!
//! Nobody who logs ever waits for it, nor does the end of the process wait for it longer than a second.

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::line::Lines;

/// Lines that wait for a slow reader of stdout: a few seconds of a busy day. At 500 bytes a line 4 MB, which a small
/// sidecar's memory has room for.
const MOST_LINES: usize = 8_000;
/// Many lines in one write when there are many; it is flushed whenever none is waiting.
const WRITE: usize = 64 * 1024;
/// For what still waits at the end.
const LAST: Duration = Duration::from_secs(1);

/// Counts lines that found no room.
#[derive(Clone, Debug, Default)]
pub struct DroppedLines(Arc<AtomicU64>);

impl DroppedLines {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
pub(super) struct Writer {
    queue: SyncSender<String>,
    dropped: DroppedLines,
}

/// Flushes when it is dropped.
pub(super) struct Flush {
    queue: SyncSender<String>,
    ending: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl Writer {
    pub(super) fn start(out: impl Write + Send + 'static, lines: Lines) -> (Self, Flush) {
        let (queue, waiting) = sync_channel(MOST_LINES);
        let (end, ended) = sync_channel(1);
        let dropped = DroppedLines::default();
        let ending = Arc::new(AtomicBool::new(false));
        let drain = Drain {
            waiting,
            out: BufWriter::with_capacity(WRITE, out),
            lines,
            dropped: dropped.clone(),
            told: 0,
            ending: Arc::clone(&ending),
        };
        let worker = thread::Builder::new().name("log".to_owned());
        let worker = worker.spawn(move || {
            drain.run();
            let _ = end.send(());
        });
        // Without a thread nothing is written, everything counted: better than not to serve.
        drop(worker);
        let flush = Flush {
            queue: queue.clone(),
            ending,
            ended,
        };
        (Self { queue, dropped }, flush)
    }

    pub(super) fn write(&self, line: String) {
        if self.queue.try_send(line).is_err() {
            self.dropped.one_more();
        }
    }

    pub(super) fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Wakes the thread where it waits for a line. Where there is no room, it does not wait.
        let _ = self.queue.try_send(String::new());
        // Whoever should read it may not: then there is nobody left to tell.
        let _ = self.ended.recv_timeout(LAST);
    }
}

struct Drain<W: Write> {
    waiting: Receiver<String>,
    out: BufWriter<W>,
    lines: Lines,
    dropped: DroppedLines,
    /// So many dropped lines were told of.
    told: u64,
    ending: Arc<AtomicBool>,
}

impl<W: Write> Drain<W> {
    fn run(mut self) {
        while let Ok(first) = self.waiting.recv() {
            let mut next = Some(first);
            while let Some(line) = next {
                self.write(&line);
                next = self.waiting.try_recv().ok();
            }
            self.tell_of_dropped();
            let _ = self.out.flush();
            if self.ending.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn write(&mut self, line: &str) {
        // A reader that has gone away stays away; the lines are lost, and told of if another comes.
        if self.out.write_all(line.as_bytes()).is_err() {
            self.dropped.one_more();
        }
    }

    /// Once it is read again: all that waited was written just now.
    fn tell_of_dropped(&mut self) {
        let dropped = self.dropped.count();
        if dropped > self.told {
            let line = self.lines.of_dropped(dropped - self.told, dropped);
            if self.out.write_all(line.as_bytes()).is_ok() {
                self.told = dropped;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::config::settings::LogFormat;
    use crate::log::line::DROPPED;

    /// Takes nothing until the other side is dropped.
    struct Stuck(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LINES: Lines = Lines {
        format: LogFormat::Text,
        colours: false,
    };

    /// One that the buffer cannot take, and then short ones.
    fn fill(writer: &Writer, lines: usize) {
        writer.write("x".repeat(WRITE + 1));
        for _ in 0..lines {
            writer.write("a line\n".to_owned());
        }
    }

    #[test]
    fn lines_that_find_no_room_hold_nobody_up_are_counted_and_told_of() {
        let (release, stuck) = channel();
        let written = Arc::default();
        let (writer, flush) = Writer::start(Stuck(stuck, Arc::clone(&written)), LINES);
        fill(&writer, MOST_LINES + 100);
        // The first may already be in the hands of the writer's thread.
        let dropped = writer.dropped().count();
        assert!((100..=101).contains(&dropped), "{dropped}");
        drop(release);
        drop(flush);
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let last = written.lines().last().unwrap();
        assert!(last.contains(DROPPED), "{last}");
        assert!(last.contains(&format!(" lines={dropped} ")), "{last}");
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_never_reads() {
        let (release, stuck) = channel::<()>();
        let (writer, flush) = Writer::start(Stuck(stuck, Arc::default()), LINES);
        fill(&writer, 2 * MOST_LINES);
        let began = tokio::time::Instant::now();
        drop(flush);
        assert!(began.elapsed() < 2 * LAST);
        drop(release);
    }
}
