//! The thread that speaks to Redis: connects, asks, writes and settles, and keeps the breaker.
//!
//! ```text
//!            3 failures in a row, or the connection is lost
//!   closed ────────────────────────────────────────────────▶ open: nobody asks, nothing is queued
//!     ▲                                                        │ after 100 ms, 200 ms … 5 s
//!     └───────────── it answers a PING ◀── a new connection ───┘
//! ```
//!
//! No request is the one that tries: that is done here. Nothing that Redis does or says ends the thread.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    Pipeline, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value, cmd, pipe,
};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::config::checked::{Redis, Shared};

use super::State;
use super::common::{CommonStore, Owed};
use super::figures::{Asked, Connected, Settled, Wrote};
use super::sharing::{Bind, Ends, Found, InsteadOf, Kind, Link, LookUp, Write};

/// Failures in a row that open the breaker.
const FAILURES: u32 = 3;

/// How long a connection may take, its first answer included.
const CONNECT: Duration = Duration::from_secs(1);

/// What nobody waits for may take so long.
const BEHIND: Duration = Duration::from_millis(500);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that lasted for so long was a good one: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(10);

/// Keys in one batch: some hundred microseconds of Redis's time.
const BATCH: usize = 256;

/// Milliseconds that a value is kept here which has no end in Redis: it isn't ours.
const STRANGE: u32 = 60_000;

/// Starts the thread. It ends with the stop signal.
pub(super) fn start(
    link: Arc<Link>,
    ends: Ends,
    settings: Shared,
    state: Arc<State>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut server = Server {
        link,
        settings,
        state,
        failures: AtomicU32::new(0),
    };
    thread::Builder::new()
        .name("state".to_owned())
        .spawn(move || {
            runtime.block_on(server.serve(ends));
            // A name that is being resolved must not hold the thread.
            runtime.shutdown_background();
        })
        .map(drop)
}

struct Server {
    link: Arc<Link>,
    settings: Shared,
    state: Arc<State>,
    /// In a row.
    failures: AtomicU32,
}

/// Why Redis is not asked any longer.
#[derive(PartialEq)]
struct Trouble(String);

impl Server {
    async fn serve(&mut self, ends: Ends) {
        let Ends {
            mut look_ups,
            mut writes,
            mut stop,
        } = ends;
        tokio::select! {
            // An error: the sender is gone, which is the signal.
            _ = &mut stop => {}
            () = self.go_on(&mut look_ups, &mut writes) => {}
        }
        self.link.end();
        self.let_go(&mut look_ups, &mut writes);
    }

    /// Connected or not, for ever.
    async fn go_on(
        &mut self,
        look_ups: &mut mpsc::Receiver<LookUp>,
        writes: &mut mpsc::Receiver<Write>,
    ) {
        let mut pause = FIRST_PAUSE;
        let mut told: Option<Trouble> = None;
        loop {
            let begun = Instant::now();
            let trouble = match self.connect().await {
                Ok(connection) => {
                    told = None;
                    self.work(&connection, look_ups, writes).await
                }
                Err(trouble) => trouble,
            };
            self.let_go(look_ups, writes);
            if begun.elapsed() > GOOD {
                pause = FIRST_PAUSE;
            }
            if told.as_ref() != Some(&trouble) {
                let server = self.place();
                tracing::warn!(server, why = %trouble.0, "redis is not asked; state is shared again when it answers");
                told = Some(trouble);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Trouble> {
        let connected = timeout(CONNECT, connect(&self.settings.redis)).await;
        let (result, trouble) = match connected {
            Ok(Ok(connection)) => {
                self.link.figures.connected(Connected::Done);
                return Ok(connection);
            }
            Ok(Err(error)) => named(&error),
            Err(_) => (Connected::Unreachable, silent(CONNECT)),
        };
        self.link.figures.connected(result);
        Err(trouble)
    }

    /// With a connection, until there is trouble.
    async fn work(
        &self,
        connection: &MultiplexedConnection,
        look_ups: &mut mpsc::Receiver<LookUp>,
        writes: &mut mpsc::Receiver<Write>,
    ) -> Trouble {
        self.failures.store(0, Relaxed);
        self.link.set_open(false);
        let server = self.place();
        tracing::info!(server, "redis answers: state is shared");
        let trouble = tokio::select! {
            trouble = self.look_up(connection.clone(), look_ups) => trouble,
            trouble = self.write(connection.clone(), writes) => trouble,
            trouble = self.settle(connection.clone()) => trouble,
        };
        self.link.set_open(true);
        trouble
    }

    /// What waits is told that there is no answer, and dropped.
    fn let_go(&self, look_ups: &mut mpsc::Receiver<LookUp>, writes: &mut mpsc::Receiver<Write>) {
        while look_ups.try_recv().is_ok() {}
        while let Ok(write) = writes.try_recv() {
            self.link.took(&write);
            failed(&write);
            self.link.figures.wrote(Wrote::Dropped, 1);
        }
    }

    async fn look_up(
        &self,
        mut connection: MultiplexedConnection,
        look_ups: &mut mpsc::Receiver<LookUp>,
    ) -> Trouble {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if look_ups.recv_many(&mut batch, BATCH).await == 0 {
                return std::future::pending().await;
            }
            batch.retain(|look_up| !look_up.answer.is_closed());
            if batch.is_empty() {
                continue;
            }
            let mut questions = pipe();
            for look_up in &batch {
                questions.cmd("GET").arg(&look_up.key);
                questions.cmd("PTTL").arg(&look_up.key);
            }
            let all = questions.query_async(&mut connection);
            match self.met(self.settings.timeout, all).await {
                Ok(answers) => self.answer(&mut batch, answers),
                Err(trouble) => {
                    batch.clear();
                    if let Some(trouble) = trouble {
                        return trouble;
                    }
                }
            }
        }
    }

    fn answer(&self, batch: &mut Vec<LookUp>, answers: Vec<Value>) {
        let mut answers = answers.into_iter();
        for look_up in batch.drain(..) {
            let value = answers.next().and_then(read::<Option<Vec<u8>>>).flatten();
            let ttl = answers.next().and_then(read::<i64>);
            let found = value.map(|value| Found {
                value,
                ttl_ms: ttl
                    .filter(|ttl| *ttl > 0)
                    .map_or(STRANGE, |ttl| ttl.try_into().unwrap_or(u32::MAX)),
            });
            let asked = match found {
                Some(_) => Asked::Hit,
                None => Asked::Miss,
            };
            // Whoever asked counts that he waits no longer.
            if look_up.answer.send(found).is_ok() {
                self.link.figures.asked(asked);
            }
        }
    }

    async fn write(
        &self,
        mut connection: MultiplexedConnection,
        writes: &mut mpsc::Receiver<Write>,
    ) -> Trouble {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if writes.recv_many(&mut batch, BATCH).await == 0 {
                return std::future::pending().await;
            }
            batch.iter().for_each(|write| self.link.took(write));
            let all = written(&batch);
            let all = all.query_async(&mut connection);
            let result = self.met(BEHIND, all).await;
            match &result {
                Ok(answers) => self.wrote(&batch, answers),
                Err(_) => {
                    batch.iter().for_each(failed);
                    self.link.figures.wrote(Wrote::Failed, batch.len());
                }
            }
            batch.clear();
            if let Err(Some(trouble)) = result {
                return trouble;
            }
        }
    }

    /// The bindings' answers come first.
    fn wrote(&self, batch: &[Write], answers: &[Value]) {
        let stays = match answers.first() {
            Some(Value::Array(stays)) => &stays[..],
            _ => &[],
        };
        let mut gave_way = 0;
        for (bind, stays) in binds(batch).zip(stays) {
            match String::from_redis_value_ref(stays) {
                Ok(server) if !server.is_empty() => {
                    bind.table.learn(&bind.local, &server, bind.ttl_ms);
                    gave_way += 1;
                }
                _ => {}
            }
        }
        self.link.figures.wrote(Wrote::GaveWay, gave_way);
        let done = batch.len() - gave_way;
        self.link.figures.wrote(Wrote::Done, done);
    }

    async fn settle(&self, mut connection: MultiplexedConnection) -> Trouble {
        let mut ticks = interval(self.settings.settle);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (_, plugin) in self.state.all() {
                let owed = plugin.common.drain();
                let mut batches = owed.chunks(BATCH);
                while let Some(batch) = batches.next() {
                    let result = self
                        .settle_some(&mut connection, &plugin.common, batch)
                        .await;
                    if let Err(Some(trouble)) = result {
                        batches
                            .flatten()
                            .for_each(|(key, owed)| plugin.common.put_back(key, *owed));
                        return trouble;
                    }
                }
            }
        }
    }

    async fn settle_some(
        &self,
        connection: &mut MultiplexedConnection,
        store: &CommonStore,
        batch: &[(Vec<u8>, Owed)],
    ) -> Result<(), Option<Trouble>> {
        let all = self.told(store, batch);
        let result = self.met(BEHIND, all.query_async(connection)).await;
        match result {
            Ok(answers) => {
                settled(store, batch, &answers);
                self.link.figures.settled(Settled::Done, batch.len());
                Ok(())
            }
            Err(trouble) => {
                batch
                    .iter()
                    .for_each(|(key, owed)| store.put_back(key, *owed));
                self.link.figures.settled(Settled::Failed, batch.len());
                Err(trouble)
            }
        }
    }

    /// Two commands: buckets, and sums.
    fn told(&self, store: &CommonStore, batch: &[(Vec<u8>, Owed)]) -> Pipeline {
        let mut buckets = Evaluation::of(include_str!("lua/settle.lua"));
        let mut sums = Evaluation::of(include_str!("lua/sum.lua"));
        for (key, owed) in batch {
            match owed {
                Owed::Tokens {
                    used,
                    per_second,
                    burst,
                    ..
                } => {
                    let key = self.link.key(Kind::Bucket, &store.plugin, key);
                    let numbers = [*used, *per_second, f64::from(*burst)];
                    buckets.add(key, numbers.map(|number| number.to_string().into_bytes()));
                }
                Owed::Sum { delta, ttl_ms } => {
                    let key = self.link.key(Kind::Sum, &store.plugin, key);
                    sums.add(
                        key,
                        [delta.to_string(), ttl_ms.to_string()].map(String::into_bytes),
                    );
                }
            }
        }
        let mut all = pipe();
        all.add_command(buckets.command())
            .add_command(sums.command());
        all
    }

    /// What came of a call. Err: it failed; with trouble, Redis is not to be asked again.
    async fn met(
        &self,
        within: Duration,
        call: impl Future<Output = RedisResult<Vec<Value>>>,
    ) -> Result<Vec<Value>, Option<Trouble>> {
        let trouble = match timeout(within, call).await {
            Ok(Ok(answer)) => {
                self.failures.store(0, Relaxed);
                return Ok(answer);
            }
            Ok(Err(error)) if error.is_connection_dropped() || error.is_io_error() => {
                return Err(Some(named(&error).1));
            }
            Ok(Err(error)) => named(&error).1,
            Err(_) => silent(within),
        };
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        Err((failures >= FAILURES).then_some(trouble))
    }

    /// Without user and password.
    fn place(&self) -> String {
        let Redis { host, port, .. } = &self.settings.redis;
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }
}

/// A connection that has answered.
async fn connect(redis: &Redis) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(CONNECT));
    let client = client(redis)?;
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    cmd("PING").query_async::<Value>(&mut connection).await?;
    Ok(connection)
}

fn client(redis: &Redis) -> RedisResult<Client> {
    let mut login = RedisConnectionInfo::default().set_db(redis.database.into());
    if let Some(user) = &redis.user {
        login = login.set_username(user);
    }
    if let Some(password) = &redis.password {
        login = login.set_password(&password.0);
    }
    let (host, port) = (redis.host.clone(), redis.port);
    let Some(tls) = &redis.tls else {
        let address = ConnectionAddr::Tcp(host, port).into_connection_info()?;
        return Client::open(address.set_redis_settings(login));
    };
    let address = ConnectionAddr::TcpTls {
        host,
        port,
        insecure: false,
        tls_params: None,
    };
    let address = address.into_connection_info()?.set_redis_settings(login);
    // Its cryptography is rustls' only provider in this program, aws-lc-rs.
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: tls.ca.clone(),
    };
    Client::build_with_tls(address, certificates)
}

/// One EVAL over many keys.
struct Evaluation {
    script: &'static str,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Evaluation {
    fn of(script: &'static str) -> Evaluation {
        Evaluation {
            script,
            keys: Vec::new(),
            arguments: Vec::new(),
        }
    }

    fn add<const N: usize>(&mut self, key: Vec<u8>, arguments: [Vec<u8>; N]) {
        self.keys.push(key);
        self.arguments.extend(arguments);
    }

    /// By the script's text, not by its hash: Redis compiles it once, and a server that was started anew needs no other way.
    fn command(&self) -> redis::Cmd {
        let mut command = cmd("EVAL");
        command.arg(self.script).arg(self.keys.len());
        command.arg(&self.keys).arg(&self.arguments);
        command
    }
}

fn binds(batch: &[Write]) -> impl Iterator<Item = &Bind> {
    batch.iter().filter_map(|write| match write {
        Write::Bind(bind) => Some(bind),
        _ => None,
    })
}

/// Bindings, then values.
fn written(batch: &[Write]) -> Pipeline {
    let mut bindings = Evaluation::of(include_str!("lua/bind.lua"));
    for bind in binds(batch) {
        let (how, expected) = match &bind.instead_of {
            InsteadOf::Anything => ("any", ""),
            InsteadOf::Nothing => ("none", ""),
            InsteadOf::Server(server) => ("is", server.as_str()),
        };
        let ttl = bind.ttl_ms.max(1).to_string();
        let arguments = [bind.server.as_str(), how, expected, &ttl];
        bindings.add(
            bind.key.clone(),
            arguments.map(|text| text.as_bytes().to_vec()),
        );
    }
    let mut all = pipe();
    all.add_command(bindings.command());
    for write in batch {
        match write {
            Write::Bind(_) => {}
            Write::Set { key, value, ttl_ms } => {
                all.cmd("SET").arg(key).arg(value).arg("PX").arg(*ttl_ms);
            }
            Write::Delete { key } => {
                all.cmd("DEL").arg(key);
            }
        }
    }
    all
}

/// It did not arrive, or nobody knows.
fn failed(write: &Write) {
    if let Write::Bind(bind) = write {
        bind.table.untold(&bind.local, &bind.server, bind.ttl_ms);
    }
}

fn settled(store: &CommonStore, batch: &[(Vec<u8>, Owed)], answers: &[Value]) {
    let list = |index: usize| match answers.get(index) {
        Some(Value::Array(list)) => &list[..],
        _ => &[],
    };
    let (mut buckets, mut sums) = (list(0).iter(), list(1).chunks(2));
    for (key, owed) in batch {
        match owed {
            Owed::Tokens {
                per_second, burst, ..
            } => {
                if let Some(tokens) = buckets.next().and_then(number) {
                    store.tokens_are(key, tokens, *per_second, *burst);
                }
            }
            Owed::Sum { .. } => {
                if let Some([sum, ttl]) = sums.next()
                    && let (Some(sum), Some(ttl)) = (number(sum), number::<i64>(ttl))
                {
                    let ttl = (ttl > 0).then(|| ttl.try_into().unwrap_or(u32::MAX));
                    store.sum_is(key, sum, ttl);
                }
            }
        }
    }
}

/// A number in a text.
fn number<T: std::str::FromStr>(value: &Value) -> Option<T> {
    String::from_redis_value_ref(value).ok()?.parse().ok()
}

fn read<T: FromRedisValue>(value: Value) -> Option<T> {
    T::from_redis_value(value).ok()
}

/// For metrics, and for the log. What Redis says comes from outside: it is escaped.
fn named(error: &RedisError) -> (Connected, Trouble) {
    let words = || Trouble(error.to_string().escape_debug().to_string());
    let login = ["NOAUTH", "WRONGPASS", "NOPERM"];
    let login = error.code().is_some_and(|code| login.contains(&code));
    if error.kind() == ErrorKind::AuthenticationFailed || login {
        let trouble = format!("it refuses the user or the password: {}", words().0);
        return (Connected::Password, Trouble(trouble));
    }
    match error.is_timeout() || error.is_io_error() {
        true => (Connected::Unreachable, words()),
        false => (Connected::Refused, words()),
    }
}

fn silent(within: Duration) -> Trouble {
    Trouble(format!("no answer within {} ms", within.as_millis()))
}
