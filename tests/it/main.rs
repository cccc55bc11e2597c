//! The whole program, from outside: one binary, one module a subject.
