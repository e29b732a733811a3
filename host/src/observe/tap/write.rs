//! A request as a line: what the access log has of it in JSON, and `steps`.

use std::sync::Arc;
use std::time::Duration;

use crate::base::event::RequestEnded;
use crate::base::trail::{Closely, Step};
use crate::config::checked::{AccessField, AccessFormat};
use crate::observe::access::{Entry, Formatter, Lines, now, text};

/// Bytes of a text of a step.
const MOST_WORDS: usize = 512;
/// Edits and notes of a step.
const MOST_ITEMS: usize = 32;

/// Writes lines, on one worker.
pub struct Writer {
    json: Formatter,
    line: Vec<u8>,
}

impl Writer {
    pub fn new() -> Writer {
        Writer {
            json: Formatter::new(Arc::new(Lines::new(AccessFormat::Json, AccessField::ALL))),
            line: Vec::new(),
        }
    }

    /// With its end.
    pub fn line(&mut self, request: &RequestEnded<'_>, closely: &Closely<'_>) -> &[u8] {
        let line = &mut self.line;
        line.clear();
        let entry = Entry {
            request,
            ended: now(),
            // JSON doesn't tell.
            listener_connections: 0,
        };
        self.json.line(line, &entry);
        // The object is opened again.
        while line.pop().is_some_and(|byte| byte != b'}') {}
        line.extend_from_slice(b",\"steps\":[");
        closely.trail.with(|steps| {
            for (at, one) in steps.iter().enumerate() {
                if at > 0 {
                    line.push(b',');
                }
                step(line, one);
            }
        });
        line.push(b']');
        if closely.trail.left_out() > 0 {
            line.extend_from_slice(b",\"steps_left_out\":");
            text::number(line, closely.trail.left_out().into());
        }
        line.extend_from_slice(b"}\n");
        line
    }

    /// What a long line has made longer than that is cut back to it.
    pub fn shrink(&mut self, to: usize) {
        if self.line.capacity() > to {
            self.line.clear();
            self.line.shrink_to(to);
        }
    }
}

/// Keys only where there is something to tell.
fn step(out: &mut Vec<u8>, step: &Step) {
    out.extend_from_slice(b"{\"at_us\":");
    text::number(out, micros(step.at));
    string(out, "role", Some(step.role.word()));
    string(out, "plugin", step.plugin.as_deref());
    string(out, "decision", Some(step.verdict.word()));
    string(out, "route", step.route.as_deref());
    string(out, "pool", step.pool.as_deref());
    string(out, "server", step.server.as_deref());
    if let Some(status) = step.status {
        key(out, "status");
        text::number(out, status.into());
    }
    string(out, "fault", step.fault);
    string(out, "path", step.path.as_deref());
    if !step.edits.is_empty() {
        key(out, "edits");
        for (at, edit) in step.edits.iter().take(MOST_ITEMS).enumerate() {
            out.push(if at == 0 { b'[' } else { b',' });
            quoted(out, edit);
        }
        out.push(b']');
    }
    if !step.notes.is_empty() {
        key(out, "notes");
        for (at, (name, value)) in notes(step).enumerate() {
            out.push(if at == 0 { b'{' } else { b',' });
            quoted(out, name);
            out.push(b':');
            quoted(out, value);
        }
        out.push(b'}');
    }
    string(out, "reason", step.reason.as_deref());
    out.push(b'}');
}

/// A key must not be there twice: the last value stands, as it does for the request.
fn notes(step: &Step) -> impl Iterator<Item = &(String, String)> {
    let notes = &step.notes[..step.notes.len().min(MOST_ITEMS)];
    let last = move |at: usize, name: &str| notes[at + 1..].iter().all(|(later, _)| later != name);
    let notes = notes.iter().enumerate();
    notes.filter_map(move |(at, note)| last(at, &note.0).then_some(note))
}

fn string(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        key(out, name);
        quoted(out, value);
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn quoted(out: &mut Vec<u8>, words: &str) {
    out.push(b'"');
    text::json(
        out,
        &words.as_bytes()[..words.floor_char_boundary(MOST_WORDS)],
    );
    out.push(b'"');
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}
