//! What runs, as the tables that HAProxy's tools read: `show stat`'s CSV (its management guide, 9.1), `show servers state`, `show info`.
//! Columns of what isn't counted here stay empty, as HAProxy leaves those that mean nothing for a line.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::control::Status;
use crate::control::status::{ListenerStatus, PoolStatus, ServerStatus};

/// HAProxy's columns, in its order, up to those that came with its version 2.6.
const COLUMNS: &str = "pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,act,bck,\
    chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,\
    check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,req_tot,cli_abrt,srv_abrt,\
    comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,last_agt,qtime,ctime,rtime,ttime,agent_status,agent_code,agent_duration,\
    check_desc,agent_desc,check_rise,check_fall,check_health,agent_rise,agent_fall,agent_health,addr,cookie,mode,algo,conn_rate,\
    conn_rate_max,conn_tot,intercepted,dcon,dses,wrew,connect,reuse,cache_lookups,cache_hits,srv_icur,src_ilim,qtime_max,ctime_max,\
    rtime_max,ttime_max,eint,idle_conn_cur,safe_conn_cur,used_conn_cur,need_conn_est,uweight";

/// HAProxy's header of `show servers state`, version 1.
const STATE_COLUMNS: &str = "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
    srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id \
    srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port";

/// Which lines are wanted: `<iid> <type> <sid>`, -1 for all.
#[derive(Clone, Copy)]
pub struct Which {
    iid: i64,
    /// 1 frontends, 2 backends, 4 servers, or a sum of them.
    kind: i64,
    sid: i64,
}

impl Which {
    /// What is no such three numbers stands for all.
    pub fn parse(words: &[&str]) -> Which {
        let numbers: Vec<i64> = words.iter().map_while(|word| word.parse().ok()).collect();
        match numbers[..] {
            [iid, kind, sid, ..] => Which { iid, kind, sid },
            _ => Which {
                iid: -1,
                kind: -1,
                sid: -1,
            },
        }
    }

    fn takes(self, iid: usize, kind: i64, sid: usize) -> bool {
        let is = |wanted: i64, number: usize| wanted == -1 || wanted == number as i64;
        is(self.iid, iid) && self.kind & kind != 0 && is(self.sid, sid)
    }
}

/// `show stat`.
pub fn stat(status: &Status, metrics: &str, which: Which) -> String {
    let metrics = Metrics::of(metrics);
    let mut out = format!("# {COLUMNS},\n");
    for (at, listener) in status.listeners.iter().enumerate() {
        let iid = at + 1;
        if which.takes(iid, 1, 0) {
            out += &frontend(status, listener, &metrics).line(iid, 0, 0);
        }
    }
    for (at, pool) in status.pools.iter().enumerate() {
        let iid = status.listeners.len() + at + 1;
        let mode = mode(status, pool);
        for (at, server) in pool.servers.iter().enumerate() {
            let sid = at + 1;
            if which.takes(iid, 4, sid) {
                let row = of_server(pool, server, &metrics).set("mode", mode);
                out += &row.line(iid, sid, 2);
            }
        }
        if which.takes(iid, 2, 0) {
            let row = backend(pool, &metrics).set("mode", mode);
            out += &row.line(iid, 0, 1);
        }
    }
    out
}

fn frontend(status: &Status, listener: &ListenerStatus, metrics: &Metrics<'_>) -> Row {
    let of = [("listener", listener.name.as_str())];
    let connections = metrics.sum("tidegate_connections_total", &of);
    Row::new(&listener.name, "FRONTEND")
        .set("scur", metrics.sum("tidegate_connections_open", &of))
        .set("slim", metrics.one("tidegate_connection_limit", &of))
        .set("stot", connections)
        .set("conn_tot", connections)
        .set(
            "dcon",
            metrics.sum("tidegate_connections_refused_total", &of),
        )
        .bytes(metrics, &of)
        .answers(metrics, &of)
        .set("req_tot", metrics.sum("tidegate_requests_total", &of))
        .set("status", if status.draining { "STOP" } else { "OPEN" })
        .set("mode", if is_tcp(listener) { "tcp" } else { "http" })
}

fn of_server(pool: &PoolStatus, server: &ServerStatus, metrics: &Metrics<'_>) -> Row {
    let of = [
        ("pool", pool.name.as_str()),
        ("server", server.name.as_str()),
    ];
    let served = served(metrics, &of);
    Row::new(&pool.name, &server.name)
        .set("qcur", server.queued)
        .set("scur", server.in_flight)
        .set("slim", server.max_connections.map(f64::from))
        .set("stot", served)
        .set("lbtot", served)
        .answers(metrics, &of)
        .set("status", standing(server))
        .set("weight", server.effective_weight.round())
        .set("uweight", server.weight)
        .set("act", u32::from(!server.backup))
        .set("bck", u32::from(server.backup))
        .set("chkfail", server.probes_failed)
        .set("chkdown", server.went_down)
        .set("check_duration", server.last_probe_ms.map(f64::round))
        .set("last_chk", server.last_probe.as_deref().unwrap_or_default())
        .set("rtime", server.ewma_us / 1000)
        .set("addr", server.address.as_str())
}

fn backend(pool: &PoolStatus, metrics: &Metrics<'_>) -> Row {
    let of = [("pool", pool.name.as_str())];
    let served = served(metrics, &of);
    let usable = || pool.servers.iter().filter(|server| server.state == "ready");
    let weight: f64 = usable().map(|server| server.effective_weight).sum();
    let at_servers: usize = pool.servers.iter().map(|server| server.queued).sum();
    Row::new(&pool.name, "BACKEND")
        .set("qcur", pool.queued + at_servers)
        .set(
            "scur",
            pool.servers.iter().map(|s| s.in_flight).sum::<u32>(),
        )
        .set("stot", served)
        .set("lbtot", served)
        .bytes(metrics, &of)
        .answers(metrics, &of)
        .set("req_tot", metrics.sum("tidegate_requests_total", &of))
        .set("wretr", metrics.sum("tidegate_retries_total", &of))
        .set(
            "status",
            if usable().next().is_some() {
                "UP"
            } else {
                "DOWN"
            },
        )
        .set("weight", weight.round())
        .set("uweight", weight.round())
        .set("act", usable().filter(|server| !server.backup).count())
        .set("bck", usable().filter(|server| server.backup).count())
        .set("algo", pool.balancer.as_str())
}

fn served(metrics: &Metrics<'_>, of: &[(&str, &str)]) -> f64 {
    metrics.sum("tidegate_requests_total", of) + metrics.sum("tidegate_tcp_connections_total", of)
}

/// HAProxy's words for it.
fn standing(server: &ServerStatus) -> &'static str {
    match (server.state, server.health) {
        ("maint", _) => "MAINT",
        ("drain", _) => "DRAIN",
        ("down", _) => "DOWN",
        (_, "unchecked") => "no check",
        _ => "UP",
    }
}

fn is_tcp(listener: &ListenerStatus) -> bool {
    matches!(listener.protocol, "tcp" | "tls")
}

fn mode(status: &Status, pool: &PoolStatus) -> &'static str {
    let mut of_pool = status.listeners.iter();
    match of_pool.any(|l| is_tcp(l) && l.pool.as_deref() == Some(&*pool.name)) {
        true => "tcp",
        false => "http",
    }
}

/// `show servers state`. Err: there is no such pool.
pub fn servers_state(status: &Status, only: Option<&str>) -> Result<String, String> {
    if only.is_some_and(|name| status.pools.iter().all(|pool| pool.name != name)) {
        return Err("Can't find backend.".to_owned());
    }
    let mut out = format!("1\n# {STATE_COLUMNS}\n");
    for (at, pool) in status.pools.iter().enumerate() {
        if only.is_some_and(|name| name != pool.name) {
            continue;
        }
        let iid = status.listeners.len() + at + 1;
        for (at, server) in pool.servers.iter().enumerate() {
            let (operational, admin) = match server.state {
                "maint" => (0, 1),
                "drain" => (2, 8),
                "down" => (0, 0),
                _ => (2, 0),
            };
            let (result, checked) = match server.health {
                "up" => (3, 6),
                "down" => (2, 6),
                _ => (0, 0),
            };
            let (address, name, port) = place(&server.address);
            let _ = writeln!(
                out,
                "{iid} {} {} {} {address} {operational} {admin} {} {} 0 0 {result} 0 {checked} 0 0 0 {name} {port} - 0 0 - - 0",
                pool.name,
                at + 1,
                server.name,
                server.weight,
                server.initial_weight,
            );
        }
    }
    Ok(out)
}

/// Address, name and port, `-` and 0 for what there is not.
fn place(address: &str) -> (&str, &str, &str) {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, port),
        _ => return (address, "-", "0"),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<std::net::IpAddr>() {
        Ok(_) => (bare, "-", port),
        Err(_) => ("-", host, port),
    }
}

/// `get weight`.
pub fn weight(status: &Status, (pool, server): (&str, &str)) -> Result<String, String> {
    let mut pools = status.pools.iter();
    let pool = pools
        .find(|known| known.name == pool)
        .ok_or("No such backend.")?;
    let mut servers = pool.servers.iter();
    let server = servers
        .find(|known| known.name == server)
        .ok_or("No such server.")?;
    Ok(format!(
        "{} (initial {})\n",
        server.weight, server.initial_weight
    ))
}

/// `show info`.
pub fn info(status: &Status, metrics: &str) -> String {
    let metrics = Metrics::of(metrics);
    let total = |name: &str| metrics.sum(name, &[]).to_string();
    let up = status.uptime_seconds;
    let uptime = format!(
        "{}d {}h{:02}m{:02}s",
        up / 86_400,
        up / 3600 % 24,
        up / 60 % 60,
        up % 60
    );
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let lines = [
        ("Name", "Tidegate".to_owned()),
        ("Version", status.version.to_owned()),
        ("Nbthread", status.workers.to_string()),
        ("Nbproc", "1".to_owned()),
        ("Process_num", "1".to_owned()),
        ("Pid", std::process::id().to_string()),
        ("Uptime", uptime),
        ("Uptime_sec", up.to_string()),
        ("CurrConns", status.connections.to_string()),
        ("CumConns", total("tidegate_connections_total")),
        ("CumReq", total("tidegate_requests_total")),
        ("node", node.trim().to_owned()),
        ("Stopping", u8::from(status.draining).to_string()),
        ("Listeners", status.listeners.len().to_string()),
        ("TotalBytesOut", total("tidegate_response_bytes_total")),
    ];
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"));
    lines.collect()
}

/// A line of the CSV.
struct Row(HashMap<&'static str, String>);

/// What stands in a column.
struct Cell(Option<String>);

impl Row {
    fn new(pxname: &str, svname: &str) -> Row {
        Row(HashMap::new())
            .set("pxname", pxname)
            .set("svname", svname)
    }

    fn set(mut self, column: &'static str, value: impl Into<Cell>) -> Row {
        if let Cell(Some(value)) = value.into() {
            self.0.insert(column, value);
        }
        self
    }

    fn bytes(self, metrics: &Metrics<'_>, of: &[(&str, &str)]) -> Row {
        self.set("bin", metrics.sum("tidegate_request_body_bytes_total", of))
            .set("bout", metrics.sum("tidegate_response_bytes_total", of))
    }

    fn answers(self, metrics: &Metrics<'_>, of: &[(&str, &str)]) -> Row {
        let columns = [
            ("hrsp_1xx", "1xx"),
            ("hrsp_2xx", "2xx"),
            ("hrsp_3xx", "3xx"),
            ("hrsp_4xx", "4xx"),
            ("hrsp_5xx", "5xx"),
            ("hrsp_other", "none"),
        ];
        columns.into_iter().fold(self, |row, (column, code)| {
            let of = [of, &[("code", code)]].concat();
            row.set(column, metrics.sum("tidegate_requests_total", &of))
        })
    }

    /// `kind`: 0 frontend, 1 backend, 2 server.
    fn line(self, iid: usize, sid: usize, kind: u32) -> String {
        let row = self
            .set("pid", 1u32)
            .set("iid", iid)
            .set("sid", sid)
            .set("type", kind);
        let cells = COLUMNS.split(',').map(|column| match row.0.get(column) {
            Some(value) => quoted(value) + ",",
            None => ",".to_owned(),
        });
        cells.collect::<String>() + "\n"
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell((!text.is_empty()).then(|| text.to_owned()))
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Cell {
        Cell(number.map(|number| number.to_string()))
    }
}

macro_rules! numbers {
    ($($type:ty),+) => {
        $(impl From<$type> for Cell {
            fn from(number: $type) -> Cell {
                Cell(Some(number.to_string()))
            }
        })+
    };
}

numbers!(u32, u64, usize, f64);

/// A label's value, of `A="1",B="2"`. Names of the configuration have no character that would be escaped.
fn value_of<'a>(labels: &'a str, label: &str) -> Option<&'a str> {
    let mut rest = labels;
    while let Some((name, behind)) = rest.split_once("=\"") {
        let (value, behind) = behind.split_once('"')?;
        if name == label {
            return Some(value);
        }
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
    None
}

/// RFC 4180, section 2; a line stays a line.
fn quoted(value: &str) -> String {
    let value: String = value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match value.contains([',', '"']) {
        true => format!("\"{}\"", value.replace('"', "\"\"")),
        false => value,
    }
}

/// Samples of an exposition, by name and, where they have both, by pool and server: a table of a thousand servers asks for each.
struct Metrics<'a>(HashMap<Series<'a>, Vec<(&'a str, f64)>>);

/// The sample's name, and the server that it is of.
type Series<'a> = (&'a str, Option<(&'a str, &'a str)>);

impl<'a> Metrics<'a> {
    /// `NAME{LABELS} VALUE`, line by line.
    fn of(text: &'a str) -> Metrics<'a> {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let sample = line.rsplit_once(' ');
            let Some((series, value)) = sample.and_then(|(s, v)| Some((s, v.parse().ok()?))) else {
                continue;
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}');
            let of = |label| value_of(labels, label);
            let server = of("pool").zip(of("server"));
            all.entry((name, None)).or_default().push((labels, value));
            if server.is_some() {
                all.entry((name, server)).or_default().push((labels, value));
            }
        }
        Metrics(all)
    }

    fn all<'s>(
        &'s self,
        name: &'s str,
        of: &'s [(&'s str, &'s str)],
    ) -> impl Iterator<Item = f64> + use<'s, 'a> {
        let given = |label| {
            of.iter()
                .find(|(known, _)| *known == label)
                .map(|(_, v)| *v)
        };
        let server = given("pool").zip(given("server"));
        let samples = self.0.get(&(name, server)).map_or(&[][..], Vec::as_slice);
        let samples = samples.iter().filter(move |(labels, _)| {
            let mut wanted = of.iter();
            wanted.all(|(label, value)| value_of(labels, label) == Some(value))
        });
        samples.map(|(_, value)| *value)
    }

    fn sum(&self, name: &str, of: &[(&str, &str)]) -> f64 {
        // What `sum` makes of nothing is -0.
        self.all(name, of).fold(0.0, |sum, value| sum + value)
    }

    fn one(&self, name: &str, of: &[(&str, &str)]) -> Option<f64> {
        self.all(name, of).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_their_labels() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"2\"} 3\na_total{y=\"2\",x=\"3\"} 4\nb 5.5\n# EOF\n";
        let metrics = Metrics::of(text);
        assert_eq!(metrics.sum("a_total", &[("y", "2")]), 7.0);
        assert_eq!(metrics.sum("a_total", &[("x", "3"), ("y", "2")]), 4.0);
        assert_eq!(metrics.one("b", &[]), Some(5.5));
        assert_eq!(metrics.one("c", &[]), None);
    }

    #[test]
    fn a_line_has_as_many_cells_as_columns() {
        let row = Row::new("app", "web1").set("last_chk", "status 503, \"no\"");
        let line = row.line(3, 1, 2);
        assert!(line.contains(",\"status 503, \"\"no\"\"\","), "{line}");
        let plain = Row::new("app", "web1").line(3, 1, 2);
        assert_eq!(plain.matches(',').count(), COLUMNS.split(',').count());
        assert!(plain.starts_with("app,web1,,"), "{plain}");
    }

    #[test]
    fn addresses_are_told_as_haproxy_does() {
        assert_eq!(place("10.0.0.1:80"), ("10.0.0.1", "-", "80"));
        assert_eq!(place("[::1]:80"), ("::1", "-", "80"));
        assert_eq!(place("app.internal:80"), ("-", "app.internal", "80"));
        assert_eq!(place("unix:/run/a.sock"), ("unix:/run/a.sock", "-", "0"));
    }
}
