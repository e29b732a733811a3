//! What runs, as the tables that HAProxy's tools read: `show stat`'s CSV (its management guide, 9.1), `show servers state`, `show info`.
//! Columns of what isn't counted here stay empty, as HAProxy leaves those that mean nothing for a line. Totals are of the metrics;
//! rates, means and what was the most come with the status.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::samples::Metrics;
use crate::control::Status;
use crate::control::status::{ListenerStatus, PoolStatus, ProbeStatus, ServerStatus, Tally};
use crate::observe::{OfListener, OfServer};

/// The columns of HAProxy 2.6, in its order. Behind the dash stand those of its modules.
const COLUMNS: &str = "pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,act,bck,\
    chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,\
    check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,req_tot,cli_abrt,srv_abrt,\
    comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,last_agt,qtime,ctime,rtime,ttime,agent_status,agent_code,agent_duration,\
    check_desc,agent_desc,check_rise,check_fall,check_health,agent_rise,agent_fall,agent_health,addr,cookie,mode,algo,conn_rate,\
    conn_rate_max,conn_tot,intercepted,dcon,dses,wrew,connect,reuse,cache_lookups,cache_hits,srv_icur,src_ilim,qtime_max,ctime_max,\
    rtime_max,ttime_max,eint,idle_conn_cur,safe_conn_cur,used_conn_cur,need_conn_est,uweight,agg_server_status,agg_server_check_status,\
    agg_check_status,-,ssl_sess,ssl_reused_sess,ssl_failed_handshake,h2_headers_rcvd,h2_data_rcvd,h2_settings_rcvd,\
    h2_rst_stream_rcvd,h2_goaway_rcvd,h2_detected_conn_protocol_errors,h2_detected_strm_protocol_errors,h2_rst_stream_resp,\
    h2_goaway_resp,h2_open_connections,h2_backend_open_streams,h2_total_connections,h2_backend_total_streams,h1_open_connections,\
    h1_open_streams,h1_total_connections,h1_total_streams,h1_bytes_in,h1_bytes_out,h1_spliced_bytes_in,h1_spliced_bytes_out";

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

/// Faults of connecting.
const CONNECT: [&str; 3] = ["connect-failed", "connect-timeout", "server-tls-failed"];
/// Those before there is a server to connect to.
const NOWHERE: [&str; 3] = ["no-server", "queue-full", "queue-timeout"];
/// Of an answer that did not begin as it should.
const ANSWER: [&str; 5] = [
    "bad-response",
    "first-byte-timeout",
    "send-timeout",
    "server-closed",
    "total-timeout",
];
/// Of one that did not end.
const CUT_OFF: [&str; 3] = ["between-bytes-timeout", "server-aborted", "server-down"];
/// Ours.
const INTERNAL: [&str; 4] = [
    "connect-plugin-failed",
    "filter-failed",
    "no-socket",
    "panic",
];
/// Who was not let in.
const DENIED: [&str; 2] = ["connection-refused", "proxy-untrusted"];
/// What is the client's fault though a pool was found.
const BODY: [&str; 4] = [
    "request-body-broken",
    "request-body-timeout",
    "request-body-too-large",
    "request-body-too-slow",
];
/// What is not, though none was.
const NOT_THE_CLIENTS: [&str; 3] = ["cut", "listener-gone", "no-pool"];

fn frontend(status: &Status, listener: &ListenerStatus, metrics: &Metrics<'_>) -> Row {
    let of = [("listener", listener.name.as_str())];
    let nowhere = [of[0], ("pool", "")];
    let connections = metrics.sum("tidegate_connections_total", &of);
    let OfListener {
        connections: rate,
        requests,
    } = listener.traffic;
    let faults = metrics.sum("tidegate_faults_total", &nowhere);
    let not_the_clients = metrics.faults(&nowhere, &[&INTERNAL, &DENIED, &NOT_THE_CLIENTS]);
    let refused = metrics.sum("tidegate_connections_refused_total", &of);
    let (answered, denied) = (
        metrics.sum("tidegate_requests_total", &nowhere),
        metrics.faults(&of, &[&DENIED]),
    );
    let secured = metrics.sum("tidegate_tls_handshakes_total", &of);
    let resumed = [of[0], ("resumed", "true")];
    let open = metrics.sum("tidegate_connections_open", &of);
    let limit = metrics.one("tidegate_connection_limit", &of);
    Row::new(&listener.name, "FRONTEND")
        .set("scur", open)
        .set("smax", listener.most)
        .set("slim", limit)
        .set("stot", connections)
        .set("conn_tot", connections)
        .set("rate", rate.now)
        .set("rate_lim", 0u32)
        .set("rate_max", rate.most)
        .set("conn_rate", rate.now)
        .set("conn_rate_max", rate.most)
        .set("req_rate", requests.now)
        .set("req_rate_max", requests.most)
        .set(
            "ereq",
            faults - not_the_clients + metrics.faults(&of, &[&BODY]),
        )
        .set("eint", metrics.faults(&of, &[&INTERNAL]))
        .set("dcon", refused + denied)
        .set("intercepted", (answered - faults).max(0.0))
        .bytes(metrics, &of)
        .answers(metrics, &of)
        .set("req_tot", metrics.sum("tidegate_requests_total", &of))
        .set("ssl_sess", secured)
        .set(
            "ssl_reused_sess",
            metrics.sum("tidegate_tls_handshakes_total", &resumed),
        )
        .set(
            "ssl_failed_handshake",
            metrics.sum("tidegate_tls_handshake_failures_total", &of),
        )
        .set(
            "status",
            match limit {
                _ if status.draining => "STOP",
                Some(limit) if open >= limit => "FULL",
                _ => "OPEN",
            },
        )
        .set("mode", if is_tcp(listener) { "tcp" } else { "http" })
}

fn of_server(pool: &PoolStatus, server: &ServerStatus, metrics: &Metrics<'_>) -> Row {
    let of = [
        ("pool", pool.name.as_str()),
        ("server", server.name.as_str()),
    ];
    let row = Row::new(&pool.name, &server.name)
        .tally(&server.tally, metrics, &of)
        .set("qcur", server.queued)
        .set("qlimit", pool.max_queue.map(|most| most as f64))
        .set("scur", server.in_flight)
        .set("used_conn_cur", server.in_flight)
        .set("slim", server.max_connections.map(f64::from))
        .set("reuse", reused(server))
        .set("econ", metrics.faults(&of, &[&CONNECT]))
        .set("wretr", server.retried)
        .set("wredis", server.retried)
        .set("status", standing(server).as_str())
        .set("weight", server.effective_weight.round())
        .set("uweight", server.weight)
        .set("throttle", server.slow_start.map(f64::from))
        .set("act", u32::from(!server.backup))
        .set("bck", u32::from(server.backup))
        .set("last_chk", server.last_probe.as_deref().unwrap_or_default())
        .set("addr", server.address.as_str());
    let row = match &pool.cookie {
        Some((_, true)) => row.set("cookie", server.name.as_str()),
        _ => row,
    };
    match &server.probe {
        Some(probe) => row.probe(server, probe),
        None => row,
    }
}

fn backend(pool: &PoolStatus, metrics: &Metrics<'_>) -> Row {
    let of = [("pool", pool.name.as_str())];
    let usable = || pool.servers.iter().filter(|server| server.state == "ready");
    let weight: f64 = usable().map(|server| server.effective_weight).sum();
    let retries = metrics.sum("tidegate_retries_total", &of);
    let cookie = pool.cookie.as_ref().map(|(name, _)| name.as_str());
    Row::new(&pool.name, "BACKEND")
        .tally(&pool.tally, metrics, &of)
        .set("qcur", pool.queued)
        .set(
            "scur",
            pool.servers.iter().map(|s| s.in_flight).sum::<u32>(),
        )
        .set("reuse", pool.servers.iter().map(reused).sum::<u64>())
        .set("econ", metrics.faults(&of, &[&CONNECT, &NOWHERE]))
        .set("eint", metrics.faults(&of, &[&INTERNAL]))
        .set("wretr", retries)
        .set("wredis", retries)
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
        .set("chkdown", pool.tally.uptime.went_down)
        .set("downtime", pool.tally.uptime.downtime.as_secs())
        .set("cookie", cookie.unwrap_or_default())
        .set("algo", pool.balancer.as_str())
}

/// Requests on connections that others had made.
fn reused(server: &ServerStatus) -> u64 {
    let traffic = &server.tally.traffic;
    traffic.requests.saturating_sub(traffic.connects)
}

/// HAProxy's words for it: with probes that speak against what is so still, how many of those that it takes are left.
fn standing(server: &ServerStatus) -> String {
    let word = match (server.state, server.health) {
        ("maint", _) => "MAINT",
        ("drain", _) => "DRAIN",
        ("down", _) => "DOWN",
        (_, "unchecked") => "no check",
        _ => "UP",
    };
    let Some(ProbeStatus {
        rise, fall, row, ..
    }) = &server.probe
    else {
        return word.to_owned();
    };
    match (word, server.health, row) {
        ("UP", "up", (_, failed)) if *failed > 0 => {
            format!("UP {}/{fall}", fall.saturating_sub(*failed).max(1))
        }
        ("DOWN", "down", (passed, _)) if *passed > 0 => {
            format!("DOWN {}/{rise}", passed.min(rise))
        }
        _ => word.to_owned(),
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
    let failed_names = metrics.sum("tidegate_dns_lookups_total", &[("result", "failed")]);
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let process = &status.process;
    let OfListener {
        connections,
        requests,
    } = process.traffic;
    let most = process.most_connections;
    let lines = [
        ("Name", "Tidegate".to_owned()),
        ("Version", status.version.to_owned()),
        // None that the binary would know of.
        ("Release_date", "-".to_owned()),
        ("Nbthread", status.workers.to_string()),
        ("Nbproc", "1".to_owned()),
        ("Process_num", "1".to_owned()),
        ("Pid", std::process::id().to_string()),
        ("Uptime", uptime),
        ("Uptime_sec", up.to_string()),
        ("Maxconn", most.to_string()),
        ("Hard_maxconn", most.to_string()),
        ("CurrConns", status.connections.to_string()),
        ("CumConns", total("tidegate_connections_total")),
        ("CumReq", total("tidegate_requests_total")),
        ("CumSslConns", total("tidegate_tls_handshakes_total")),
        // Bytes go through none.
        ("Maxpipes", "0".to_owned()),
        ("PipesUsed", "0".to_owned()),
        ("PipesFree", "0".to_owned()),
        ("ConnRate", connections.now.to_string()),
        ("ConnRateLimit", "0".to_owned()),
        ("MaxConnRate", connections.most.to_string()),
        ("SessRate", connections.now.to_string()),
        ("SessRateLimit", "0".to_owned()),
        ("MaxSessRate", connections.most.to_string()),
        ("ReqRate", requests.now.to_string()),
        ("MaxReqRate", requests.most.to_string()),
        ("Tasks", process.tasks.to_string()),
        ("Run_queue", process.woken.to_string()),
        ("Idle_pct", process.idle_percent.to_string()),
        ("node", node.trim().to_owned()),
        ("Stopping", u8::from(status.draining).to_string()),
        ("Jobs", status.connections.to_string()),
        ("Listeners", status.listeners.len().to_string()),
        (
            "DroppedLogs",
            total("tidegate_access_log_lines_dropped_total"),
        ),
        ("FailedResolutions", failed_names.to_string()),
        ("TotalBytesOut", total("tidegate_response_bytes_total")),
        ("Start_time_sec", process.started.to_string()),
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

    /// What a server and a pool have alike.
    fn tally(self, tally: &Tally, metrics: &Metrics<'_>, of: &[(&str, &str)]) -> Row {
        self.traffic(&tally.traffic)
            .answers(metrics, of)
            .set("qmax", tally.most.queued)
            .set("smax", tally.most.in_flight)
            .set("req_tot", metrics.sum("tidegate_requests_total", of))
            .set("eresp", metrics.faults(of, &[&ANSWER, &CUT_OFF]))
            .set("srv_abrt", metrics.faults(of, &[&CUT_OFF]))
            .set("lastchg", tally.uptime.unchanged.as_secs())
    }

    fn traffic(self, of: &OfServer) -> Row {
        let means = ["qtime", "ctime", "rtime", "ttime"];
        let longest = ["qtime_max", "ctime_max", "rtime_max", "ttime_max"];
        let times = means.iter().zip(of.mean);
        let times = times.chain(longest.iter().zip(of.longest));
        let row = times.fold(self, |row, (column, time)| {
            row.set(column, time.as_millis() as u64)
        });
        // HAProxy's word for never.
        let idle = of.idle.map_or(-1.0, |idle| idle.as_secs() as f64);
        row.set("stot", of.requests)
            .set("lbtot", of.requests)
            .set("rate", of.rate.now)
            .set("rate_max", of.rate.most)
            .set("bin", of.bytes_in)
            .set("bout", of.bytes_out)
            .set("connect", of.connects)
            .set("cli_abrt", of.client_aborts)
            .set("lastsess", idle)
    }

    fn probe(self, server: &ServerStatus, probe: &ProbeStatus) -> Row {
        let ProbeStatus {
            outcome,
            rise,
            fall,
            row: (passed, failed),
        } = *probe;
        let health = match server.health {
            "down" => passed.min(rise),
            _ => (rise + fall - 1).saturating_sub(failed),
        };
        let code = (outcome.status > 0).then_some(f64::from(outcome.status));
        self.set("chkfail", server.probes_failed)
            .set("chkdown", server.went_down)
            .set("downtime", server.tally.uptime.downtime.as_secs())
            .set("check_status", outcome.word())
            .set("check_code", code)
            .set("check_duration", server.last_probe_ms.map(f64::round))
            .set("check_desc", outcome.sentence())
            .set("check_rise", rise)
            .set("check_fall", fall)
            .set("check_health", health)
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

#[cfg(test)]
mod tests {
    use super::*;

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
