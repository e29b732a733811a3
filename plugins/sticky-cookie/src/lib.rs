//! Brings users back to their server by a cookie, as HAProxy's `cookie` does. See README.md.
//!
//! What the client's cookie says of a server goes to `bind` as a note, for by then the cookie may be gone from the request. A
//! cookie that is as it should be is not sent again.

mod cookies;
mod settings;
mod value;

use std::time::Duration;

use tidegate_sdk::now;
use tidegate_sdk::prelude::*;

use settings::{Mode, Settings};
use value::{Dates, Value, Values};

pub struct StickyCookie {
    cookie: String,
    mode: Mode,
    indirect: bool,
    nocache: bool,
    /// What follows the value of a cookie that we set.
    attributes: String,
    max_idle: Option<Duration>,
    max_life: Option<Duration>,
    values: Values,
    /// Of the pools, by index: a sealed value is good for its own alone.
    pools: Vec<String>,
}

/// The server that the client's cookie names, and the dates beside it.
const NOTE: &str = "sticky";
const DATES: &str = "sticky-dates";

impl Plugin for StickyCookie {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        settings.check()?;
        Ok(StickyCookie {
            attributes: settings.attributes()?,
            values: settings.values()?,
            mode: settings.mode,
            indirect: settings.mode == Mode::Insert && settings.indirect,
            nocache: settings.mode == Mode::Insert && settings.nocache,
            max_idle: settings.max_idle,
            max_life: settings.max_life,
            pools: context.pools.clone(),
            cookie: settings.cookie,
        })
    }

    fn interest(&self) -> Interest {
        let interest = Interest::none().header("cookie");
        match self.mode {
            Mode::Insert => interest.response_note(NOTE).response_note(DATES),
            Mode::Rewrite | Mode::Prefix => interest.set_cookie(&self.cookie),
        }
    }
}

impl Sticky for StickyCookie {
    fn find(&self, pool: PoolIndex, r: &Request) -> Finding {
        let Some(header) = r.header_bytes("cookie") else {
            return Finding::none();
        };
        let Some(sent) = cookies::find(header, &self.cookie) else {
            return Finding::none();
        };
        match self.mode {
            Mode::Insert | Mode::Rewrite => {
                let finding = self.found(pool, &String::from_utf8_lossy(sent));
                self.without_cookie(finding, header)
            }
            Mode::Prefix => self.find_prefix(pool, header, sent),
        }
    }

    fn bind(&self, pool: PoolIndex, server: &str, r: &Response) -> Binding {
        match self.mode {
            Mode::Insert => self.insert(pool, server, r),
            Mode::Rewrite => self.change(
                r,
                |own, rest| format!("{own}{}", cookies::attributes(rest)),
                pool,
                server,
            ),
            Mode::Prefix => self.change(r, |own, rest| format!("{own}~{rest}"), pool, server),
        }
    }
}

impl StickyCookie {
    fn pool(&self, pool: PoolIndex) -> &[u8] {
        let name = self.pools.get(pool.0 as usize);
        name.map_or(&[], |name| name.as_bytes())
    }

    fn found(&self, pool: PoolIndex, text: &str) -> Finding {
        let Some(value) = self.values.read(self.pool(pool), text) else {
            return Finding::none().why("cookie not valid");
        };
        if value.dates.is_some_and(|dates| self.is_over(dates)) {
            return Finding::none().why("cookie expired");
        }
        let finding = Finding::server(&value.server).note(NOTE, value.server);
        match value.dates {
            Some(dates) => finding.note(DATES, dates.to_string()),
            None => finding,
        }
    }

    /// Servers need not know of a cookie that is between client and proxy.
    fn without_cookie(&self, finding: Finding, header: &[u8]) -> Finding {
        if !self.indirect {
            return finding;
        }
        match cookies::without(header, &self.cookie) {
            rest if rest.is_empty() => finding.remove("cookie"),
            rest => finding.set("cookie", rest),
        }
    }

    /// The server gets its own cookie back, as it set it.
    fn find_prefix(&self, pool: PoolIndex, header: &[u8], sent: &[u8]) -> Finding {
        let Some(at) = sent.iter().position(|b| *b == b'~') else {
            return Finding::none();
        };
        let finding = self.found(pool, &String::from_utf8_lossy(&sent[..at]));
        let own = cookies::replaced(header, &self.cookie, &sent[at + 1..]);
        finding.set("cookie", own)
    }

    fn insert(&self, pool: PoolIndex, server: &str, r: &Response) -> Binding {
        let dates = r.request().note(DATES).and_then(Dates::parse);
        let stays = r.request().note(NOTE) == Some(server);
        if stays && !self.must_be_dated(dates) {
            return Binding::none();
        }
        let value = Value {
            server: server.to_owned(),
            dates: self.dated().then(|| Dates {
                last: now(),
                // A life goes on through refreshes, and begins anew at another server.
                first: dates
                    .filter(|_| stays)
                    .map_or_else(now, |dates| dates.first),
            }),
        };
        let text = self.values.write(self.pool(pool), &value);
        let binding = Binding::none().set_cookie(&self.cookie, text + &self.attributes);
        match self.nocache {
            true => binding.append("cache-control", "private"),
            false => binding,
        }
    }

    /// The cookie that the server sets, if it sets one in this response.
    fn change(
        &self,
        r: &Response,
        changed: impl Fn(&str, &str) -> String,
        pool: PoolIndex,
        server: &str,
    ) -> Binding {
        let Some(rest) = r.set_cookie(&self.cookie) else {
            return Binding::none();
        };
        let value = Value {
            server: server.to_owned(),
            dates: None,
        };
        let own = self.values.write(self.pool(pool), &value);
        Binding::none().set_cookie(&self.cookie, changed(&own, rest))
    }

    fn dated(&self) -> bool {
        self.max_idle.is_some() || self.max_life.is_some()
    }

    fn is_over(&self, dates: Dates) -> bool {
        let older = |since: Duration, most: Option<Duration>| {
            most.is_some_and(|most| now().saturating_sub(since) > most)
        };
        older(dates.last, self.max_idle) || older(dates.first, self.max_life)
    }

    /// A date that is a little old is good enough: not every answer need carry a cookie.
    fn must_be_dated(&self, dates: Option<Dates>) -> bool {
        match (dates, self.max_idle) {
            (None, _) => self.dated(),
            (Some(dates), Some(idle)) => now().saturating_sub(dates.last) >= idle / 16,
            (Some(_), None) => false,
        }
    }
}

export!(StickyCookie: Sticky);

#[cfg(test)]
mod tests;
