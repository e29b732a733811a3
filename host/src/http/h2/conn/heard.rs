//! What comes on a connection: frame by frame it is given to its stream, or changes the connection. An error that is returned is
//! the connection's, and ends it (RFC 9113, 5.4.1); one of a stream resets that.

use std::rc::Rc;

use super::{Conn, FAREWELL, Host, Side, State};
use crate::http::client::MOST_INTERIM;
use crate::http::h2::fields;
use crate::http::h2::frame::{self, LARGEST, LARGEST_WINDOW, Reason, flag, kind, setting};
use crate::http::h2::reader::Frame;
use crate::http::h2::request;
use crate::http::h2::stream::{Cause, Stream};
use crate::http::timers;

impl Conn {
    /// Bytes have come.
    pub fn hear(self: &Rc<Self>, bytes: &[u8], host: &impl Host) {
        self.read.set(self.read.get() + bytes.len() as u64);
        let mut reader = self.reader.borrow_mut();
        let heard = reader.read(bytes, timers::now(), &mut |frame| self.frame(frame, host));
        if let Err(reason) = heard {
            host.fails(reason);
            self.fail(reason);
        }
    }

    fn find(&self, id: u32) -> Option<Rc<Stream>> {
        let streams = self.streams.borrow();
        let at = streams.binary_search_by_key(&id, |stream| stream.id).ok()?;
        Some(streams[at].clone())
    }

    /// Nobody has opened it yet.
    fn is_idle(&self, id: u32) -> bool {
        id > match id % 2 {
            1 if self.side == Side::OfClient => self.last_heard.get(),
            1 => self.last_own.get(),
            _ => 0,
        }
    }

    fn frame(self: &Rc<Self>, frame: Frame<'_>, host: &impl Host) -> Result<(), Reason> {
        if self.state.get() >= State::Ending {
            return Ok(());
        }
        match frame {
            Frame::Data {
                stream,
                bytes,
                cost,
                end,
            } => self.data(stream, bytes, cost, end),
            Frame::Head { stream, block, end } => match self.side {
                Side::OfClient => self.head_of_client(stream, block, end, host),
                Side::OfServer => self.head_of_server(stream, block, end),
            },
            Frame::Reset { stream, reason } => match self.find(stream) {
                Some(stream) => {
                    stream.end(Cause::Reset(reason));
                    Ok(())
                }
                None => self.of_none(stream),
            },
            Frame::Settings(list) => self.settings(list),
            Frame::SettingsHeard => {
                self.heard_of_ours.set(true);
                Ok(())
            }
            Frame::Ping(word) => {
                self.append(|out| frame::ping(word, flag::ACK, out));
                Ok(())
            }
            Frame::Pong(word) => {
                if word == FAREWELL && self.state.get() == State::Leaving {
                    self.say_goodbye(Reason::NO_ERROR, State::Left);
                }
                Ok(())
            }
            Frame::GoAway { last, reason } => {
                self.peer_goes.set(true);
                self.leave_out(last, reason);
                Ok(())
            }
            Frame::Window { stream: 0, by } => self.widen(by),
            Frame::Window { stream, by } => self.widen_stream(stream, by),
        }
    }

    /// A frame of a stream that is over is passed over; of one that has not begun there can be none.
    fn of_none(&self, id: u32) -> Result<(), Reason> {
        match self.is_idle(id) && !self.is_too_late(id) {
            true => Err(Reason::PROTOCOL_ERROR),
            false => Ok(()),
        }
    }

    /// The client may have begun it before it heard our last GOAWAY: all of it is as if it had not come (RFC 9113, 6.8).
    fn is_too_late(&self, id: u32) -> bool {
        self.side == Side::OfClient
            && self.state.get() >= State::Left
            && id % 2 == 1
            && id > self.last_heard.get()
    }

    /// The server has not looked at those behind the last.
    fn leave_out(&self, last: u32, reason: Reason) {
        if self.side == Side::OfClient {
            return;
        }
        let cause = match reason {
            Reason::NO_ERROR => Cause::LeftOut,
            _ => Cause::Closed,
        };
        let streams = self.streams.borrow();
        let left_out = streams.iter().filter(|stream| stream.id > last);
        left_out.for_each(|stream| stream.end(cause));
    }

    fn data(&self, id: u32, bytes: &[u8], cost: usize, end: bool) -> Result<(), Reason> {
        self.granted.set(self.granted.get() - cost as i64);
        if self.granted.get() < 0 {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        let Some(stream) = self.find(id) else {
            self.of_none(id)?;
            self.took(cost);
            if !self.is_too_late(id) {
                self.reset_once(id);
            }
            return Ok(());
        };
        if stream.peer_ended.get() || stream.cause().is_some() {
            self.took(cost);
            if stream.cause().is_none() {
                self.reset(&stream, Reason::STREAM_CLOSED, Cause::Violation);
            }
            return Ok(());
        }
        stream.granted.set(stream.granted.get() - cost as i64);
        let padding = (cost - bytes.len()) as u32;
        if stream.granted.get() + self.not_heard_yet() < 0 {
            self.took(cost);
            self.reset(&stream, Reason::FLOW_CONTROL_ERROR, Cause::Violation);
        } else if !stream.heard(bytes, end) {
            self.took(cost);
            self.reset(&stream, Reason::PROTOCOL_ERROR, Cause::Violation);
        } else {
            self.took(padding as usize);
            stream.owed.set(stream.owed.get() + padding);
            self.was_ended(&stream);
        }
        Ok(())
    }

    /// What a peer may send beyond our window while it has not heard of that.
    fn not_heard_yet(&self) -> i64 {
        match self.heard_of_ours.get() {
            true => 0,
            false => i64::from(frame::WINDOW.saturating_sub(self.grant.window)),
        }
    }

    fn head_of_client(
        self: &Rc<Self>,
        id: u32,
        block: &[u8],
        end: bool,
        host: &impl Host,
    ) -> Result<(), Reason> {
        if let Some(stream) = self.find(id) {
            return self.trailers(&stream, block, end);
        }
        if id.is_multiple_of(2) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if id <= self.last_heard.get() {
            self.skip(block)?;
            return match self.reset.borrow().contains(&id) {
                true => Ok(()),
                false => Err(Reason::STREAM_CLOSED),
            };
        }
        let read = request::read(
            &mut self.decoder.borrow_mut(),
            block,
            end,
            self.grant.most_head,
        );
        let read = read.map_err(|_| Reason::COMPRESSION_ERROR)?;
        if self.is_too_late(id) {
            return Ok(());
        }
        self.last_heard.set(id);
        let refusal = match read {
            _ if self.open.get() >= self.grant.streams as usize => Reason::REFUSED_STREAM,
            None => Reason::PROTOCOL_ERROR,
            Some(read) => {
                let stream = self.open(id);
                stream.peer_ended.set(end);
                if let Ok(read) = &read {
                    stream.left.set(read.length());
                }
                self.open.set(self.open.get() + 1);
                host.begin(stream, read);
                return Ok(());
            }
        };
        self.remember(id);
        self.append(|out| frame::reset(id, refusal, out));
        Ok(())
    }

    fn head_of_server(&self, id: u32, block: &[u8], end: bool) -> Result<(), Reason> {
        let Some(stream) = self.find(id) else {
            self.skip(block)?;
            return self.of_none(id);
        };
        if stream.headed.get() || stream.peer_ended.get() {
            return self.trailers(&stream, block, end);
        }
        let mut answer = fields::Answer::new(self.grant.most_head);
        let mut decoder = self.decoder.borrow_mut();
        let decoded = decoder.decode(block, |name, value| answer.field(name, value));
        decoded.map_err(|_| Reason::COMPRESSION_ERROR)?;
        let Some(head) = answer.end().filter(|head| !head.interim || !end) else {
            self.reset(&stream, Reason::PROTOCOL_ERROR, Cause::Violation);
            return Ok(());
        };
        if !head.interim {
            let bodiless = stream.bodiless.get() || head.bodiless;
            stream
                .left
                .set(if bodiless { Some(0) } else { head.length });
            stream.headed.set(true);
        }
        if stream.heads() > MOST_INTERIM as usize {
            self.reset(&stream, Reason::ENHANCE_YOUR_CALM, Cause::Violation);
            return Ok(());
        }
        stream.heard_head(head.text);
        if end && !stream.heard(&[], true) {
            self.reset(&stream, Reason::PROTOCOL_ERROR, Cause::Violation);
        }
        Ok(())
    }

    fn trailers(&self, stream: &Rc<Stream>, block: &[u8], end: bool) -> Result<(), Reason> {
        let mut trailers = fields::Trailers::default();
        let mut decoder = self.decoder.borrow_mut();
        let decoded = decoder.decode(block, |name, value| trailers.field(name, value));
        decoded.map_err(|_| Reason::COMPRESSION_ERROR)?;
        if stream.cause().is_some() {
            return Ok(());
        }
        if stream.peer_ended.get() {
            self.reset(stream, Reason::STREAM_CLOSED, Cause::Violation);
            return Ok(());
        }
        let lines = trailers.end().filter(|_| end);
        if lines.is_some_and(|lines| stream.heard_trailers(lines)) {
            self.was_ended(stream);
        } else {
            self.reset(stream, Reason::PROTOCOL_ERROR, Cause::Violation);
        }
        Ok(())
    }

    /// Nobody is interested in it, but in what it does to the table.
    fn skip(&self, block: &[u8]) -> Result<(), Reason> {
        let skipped = self.decoder.borrow_mut().decode(block, |_, _| {});
        skipped.map_err(|_| Reason::COMPRESSION_ERROR)
    }

    fn settings(&self, list: &[u8]) -> Result<(), Reason> {
        for pair in list.chunks_exact(6) {
            let name = u16::from_be_bytes([pair[0], pair[1]]);
            let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
            match name {
                setting::HEADER_TABLE_SIZE => {
                    self.out.borrow_mut().encoder.bound(value as usize);
                }
                setting::MAX_CONCURRENT_STREAMS => self.peers_streams.set(value as usize),
                setting::INITIAL_WINDOW_SIZE => self.new_window(i64::from(value))?,
                setting::MAX_FRAME_SIZE if !(LARGEST..1 << 24).contains(&(value as usize)) => {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                setting::ENABLE_PUSH if value > 1 => return Err(Reason::PROTOCOL_ERROR),
                _ => {}
            }
        }
        if !self.settled.replace(true) {
            self.wake();
        }
        self.append(|out| frame::head(0, kind::SETTINGS, flag::ACK, 0, out));
        Ok(())
    }

    /// It is that of all streams that there are, too (RFC 9113, 6.9.2).
    fn new_window(&self, window: i64) -> Result<(), Reason> {
        if window > LARGEST_WINDOW {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        let more = window - self.peers_window.replace(window);
        for stream in self.streams.borrow().iter() {
            let widened = stream.window.get() + more;
            if widened > LARGEST_WINDOW {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
            stream.window.set(widened);
            if more > 0 {
                stream.wake();
            }
        }
        Ok(())
    }

    fn widen(&self, by: u32) -> Result<(), Reason> {
        let mut out = self.out.borrow_mut();
        if by == 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        out.window += i64::from(by);
        if out.window > LARGEST_WINDOW {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        out.wake_those_who_wait();
        Ok(())
    }

    fn widen_stream(&self, id: u32, by: u32) -> Result<(), Reason> {
        let Some(stream) = self.find(id) else {
            return self.of_none(id);
        };
        let widened = stream.window.get() + i64::from(by);
        if by == 0 {
            self.reset(&stream, Reason::PROTOCOL_ERROR, Cause::Violation);
        } else if widened > LARGEST_WINDOW {
            self.reset(&stream, Reason::FLOW_CONTROL_ERROR, Cause::Violation);
        } else {
            stream.window.set(widened);
            stream.wake();
        }
        Ok(())
    }
}
