//! Headers that the access log wants: the request's are looked up as the request is told of, for a head keeps what was sent; the
//! response's are copied as the server's answer comes. Both before a plugin changes anything, as HAProxy captures them.

use std::rc::Rc;

use smallvec::SmallVec;

use crate::base::event::Captured;
use crate::config::checked::Captures;
use crate::http::Fields;

/// What is captured of one request.
pub struct Capture {
    rules: Rc<Captures>,
    /// As many as `rules.response`, or none where no server answered.
    response: SmallVec<[Option<Box<[u8]>>; 4]>,
}

pub type List<'a> = SmallVec<[Captured<'a>; 4]>;

impl Capture {
    pub fn new(rules: &Rc<Captures>) -> Capture {
        Capture {
            rules: rules.clone(),
            response: SmallVec::new(),
        }
    }

    /// Of an answer as the server sent it.
    pub fn answered(&mut self, fields: &Fields) {
        let rules = &self.rules;
        let value = |name: &String| fields.last_sent(name).map(|value| cut(value, rules).into());
        self.response = rules.response.iter().map(value).collect();
    }

    pub fn request<'a>(&'a self, fields: &'a Fields) -> List<'a> {
        let captured = |name: &'a String| Captured {
            name,
            value: fields.last_sent(name).map(|value| cut(value, &self.rules)),
        };
        self.rules.request.iter().map(captured).collect()
    }

    pub fn response(&self) -> List<'_> {
        let names = self.rules.response.iter().enumerate();
        let captured = names.map(|(at, name)| Captured {
            name,
            value: self.response.get(at).and_then(Option::as_deref),
        });
        captured.collect()
    }
}

fn cut<'a>(value: &'a [u8], rules: &Captures) -> &'a [u8] {
    &value[..value.len().min(rules.length)]
}
