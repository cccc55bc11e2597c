//! What may be written, what was meant, and every mistake at its line.

pub mod settings;
