//! The page on `/`: the status as plain tables, made on the server, without a script. It loads itself again every two
//! seconds.

use std::fmt::Write as _;

use crate::control::Status;
use crate::control::status::{LastChange, ListenerStatus, PluginStatus, PoolStatus};

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2>\
<meta name=viewport content=\"width=device-width\"><title>Tidegate</title><style>\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color-scheme:light dark}\
table{border-collapse:collapse;width:100%;margin:.4rem 0 1.6rem}th,td{text-align:left;padding:.25rem .8rem .25rem 0;\
border-bottom:1px solid #8884;vertical-align:top}th{font-weight:600}.number{text-align:right;font-variant-numeric:tabular-nums}\
.bad{color:#c22}pre{white-space:pre-wrap}h2{font-size:1.05rem;margin:1rem 0 0}</style>";

pub fn render(status: &Status) -> String {
    let mut page = String::from(HEAD);
    let state = if status.draining {
        "draining"
    } else {
        "running"
    };
    let _ = write!(
        page,
        "<h1>Tidegate {}</h1><p>{state}, generation {}, {} workers, since {}, {}",
        status.version,
        status.generation,
        status.workers,
        escape(&status.started),
        escape(&status.config),
    );
    if let Some(change) = &status.last_change {
        last_change(&mut page, change);
    }
    listeners(&mut page, &status.listeners);
    for pool in &status.pools {
        servers(&mut page, pool);
    }
    plugins(&mut page, &status.plugins);
    page
}

fn last_change(page: &mut String, change: &LastChange) {
    let class = if change.problems.is_empty() {
        ""
    } else {
        " class=bad"
    };
    let _ = write!(
        page,
        "<p{class}>last change: {}, {} at {}",
        escape(&change.what),
        change.result,
        escape(&change.at)
    );
    for problem in &change.problems {
        let _ = write!(page, "<pre class=bad>{}</pre>", escape(problem));
    }
}

fn listeners(page: &mut String, listeners: &[ListenerStatus]) {
    *page += "<h2>Listeners</h2><table><tr><th>name<th>address<th>filters<th>router<th>pool";
    for l in listeners {
        let (router, pool) = (l.router.as_deref(), l.pool.as_deref());
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}",
            escape(&l.name),
            escape(&l.addresses.join(", ")),
            escape(&l.filters.join(", ")),
            escape(router.unwrap_or("–")),
            escape(pool.unwrap_or("–")),
        );
    }
    *page += "</table>";
}

fn servers(page: &mut String, pool: &PoolStatus) {
    let _ = write!(
        page,
        "<h2>Pool {}, by {}</h2><table><tr><th>server<th>address<th>state<th>last probe<th class=number>weight<th class=number>in flight\
         <th class=number>first byte, ms",
        escape(&pool.name),
        escape(&pool.balancer)
    );
    for s in &pool.servers {
        let class = if s.state == "down" { " class=bad" } else { "" };
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td{class}>{}{}<td>{}<td class=number>{}<td class=number>{}<td class=number>{:.1}",
            escape(&s.name),
            escape(&s.address),
            s.state,
            if s.backup { " (backup)" } else { "" },
            escape(s.last_probe.as_deref().unwrap_or("–")),
            s.weight,
            s.in_flight,
            f64::from(s.ewma_us) / 1e3,
        );
    }
    *page += "</table>";
}

fn plugins(page: &mut String, plugins: &[PluginStatus]) {
    *page += "<h2>Plugins</h2><table><tr><th>name<th>source<th>roles<th>sha256<th>state<th class=number>calls\
              <th class=number>failures<th class=number>ns a call<th class=number>instances";
    for p in plugins {
        let class = if p.state == "warm" { "" } else { " class=bad" };
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td{class}>{}<td class=number>{}<td class=number>{}<td class=number>{}<td class=number>{}",
            escape(&p.name),
            escape(&p.source),
            escape(&p.roles.join(", ")),
            escape(p.sha256.get(..12).unwrap_or(&p.sha256)),
            p.state,
            p.calls,
            p.failures,
            p.mean_call_ns,
            p.instances,
        );
    }
    *page += "</table>";
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}
