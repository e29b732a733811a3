//! A loaded plugin: compiled, its imports found, its roles known. Nothing of it has run yet.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wasmtime::{CodeBuilder, Engine};

use super::engine::Engines;
use super::guest::{self, Guest};
use super::live::{INTRINSICS, Joined, LIVE, imports_live, join};
use super::runtime::LoadError;
use super::wasi;

/// The version of `wit/` that this host speaks.
pub(super) const WIT_VERSION: &str = "0.1.0";

const PACKAGE: &str = "tidegate:plugin/";

/// A compiled plugin and what is known of it without running it.
pub struct Artifact {
    sha256: [u8; 32],
    size: usize,
    kind: Kind,
    roles: Roles,
    wit_version: String,
    imports: Vec<String>,
    reads_ewma: bool,
    exports: Exports,
    prepared: InstancePre<Guest>,
}

/// What the file was before it was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A core module (`wasm32-unknown-unknown`), made into a component at load.
    Module,
    /// A component (`wasm32-wasip2`, or made elsewhere).
    Component,
}

/// The roles that a plugin exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    pub connect: bool,
    pub router: bool,
    pub request_filter: bool,
    pub response_filter: bool,
    pub balancer: bool,
    pub request_balancer: bool,
    pub sticky: bool,
    pub health: bool,
    pub prober: bool,
    pub stateful: bool,
}

/// Where a component's functions are.
pub(super) struct Exports {
    pub(super) configure: ComponentExportIndex,
    pub(super) snapshot: Option<ComponentExportIndex>,
    pub(super) restore: Option<ComponentExportIndex>,
    pub(super) connect: Option<ComponentExportIndex>,
    pub(super) route: Option<ComponentExportIndex>,
    pub(super) request: Option<ComponentExportIndex>,
    pub(super) resume: Option<ComponentExportIndex>,
    pub(super) response: Option<ComponentExportIndex>,
    pub(super) update: Option<ComponentExportIndex>,
    pub(super) pick: Option<ComponentExportIndex>,
    pub(super) pick_again: Option<ComponentExportIndex>,
    pub(super) request_update: Option<ComponentExportIndex>,
    pub(super) request_pick: Option<ComponentExportIndex>,
    pub(super) find: Option<ComponentExportIndex>,
    pub(super) bind: Option<ComponentExportIndex>,
    pub(super) judge: Option<ComponentExportIndex>,
    pub(super) probe: Option<ComponentExportIndex>,
}

impl Artifact {
    /// Compiles and links. `linker` holds what the host gives to every plugin; `live` is the component behind `live-v1`.
    pub(super) fn load(
        engines: &Engines,
        linker: &Linker<Guest>,
        live: &[u8],
        bytes: &[u8],
    ) -> Result<Artifact, LoadError> {
        let (kind, component) = component_of(bytes)?;
        let compiled = compile(engines, linker.engine(), live, &component)?;
        let (exports, roles, wit_version) = exports_of(&compiled.code)?;
        let imports = imports(&compiled)?;
        check_prober(roles, &imports)?;
        let prepared = link(linker, &compiled.code)?;
        check_shape(&prepared)?;
        Ok(Artifact {
            sha256: Sha256::digest(bytes).into(),
            size: bytes.len(),
            kind,
            roles,
            wit_version,
            imports,
            reads_ewma: compiled.joined.is_some_and(|joined| joined.reads_ewma),
            exports,
            prepared,
        })
    }

    /// Of the file.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// The version of `tidegate:plugin` that it was built for.
    pub fn wit_version(&self) -> &str {
        &self.wit_version
    }

    /// The names of what it imports, sorted.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    pub(super) fn reads_ewma(&self) -> bool {
        self.reads_ewma
    }

    pub(super) fn exports(&self) -> &Exports {
        &self.exports
    }

    pub(super) fn prepared(&self) -> &InstancePre<Guest> {
        &self.prepared
    }
}

/// Bytes 4 to 8 tell a core module from a component.
fn component_of(bytes: &[u8]) -> Result<(Kind, Cow<'_, [u8]>), LoadError> {
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => Ok((Kind::Module, componentised(bytes)?.into())),
        (Some(b"\0asm"), Some([13, 0, 1, 0])) => Ok((Kind::Component, bytes.into())),
        (Some(b"\0asm"), _) => Err(LoadError::new(
            "it is WebAssembly of a version that is not known here",
            "build it with `tidegate plugin build`",
        )),
        _ => Err(LoadError::new(
            "it is no WebAssembly file",
            "name a .wasm file, as `tidegate plugin build` writes it",
        )),
    }
}

fn componentised(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let cannot = |why: String| {
        LoadError::new(
            format!("it cannot be made into a component: {why}"),
            "build it on tidegate-sdk, with `export!` in it, for wasm32-unknown-unknown or wasm32-wasip2",
        )
    };
    // The encoder takes a sound module for granted.
    wasmparser::validate(module).map_err(|e| invalid(e.to_string()))?;
    // What the module says of its own interface is read by code that was written for what compilers emit; a file may come
    // from anybody who may swap plugins, and must not end more than its own change.
    let encoded = std::panic::catch_unwind(|| {
        wit_component::ComponentEncoder::default()
            .validate(true)
            .module(module)
            .and_then(|mut encoder| encoder.encode())
    });
    match encoded {
        Ok(component) => component.map_err(|e| cannot(format!("{e:#}"))),
        Err(_) => Err(cannot(
            "what it says of its interface is damaged".to_owned(),
        )),
    }
}

/// A component as compiled code, and whether it was joined with the live counters.
struct Compiled {
    code: Component,
    joined: Option<Joined>,
}

/// Compiles on an engine that goes with it, for `engine`, which has the same settings: a compiler keeps what it worked with
/// for each function (some 5 MB a plugin, more with each one), for as long as its engine lives.
fn compile(
    engines: &Engines,
    engine: &Engine,
    live: &[u8],
    bytes: &[u8],
) -> Result<Compiled, LoadError> {
    let joined = match imports_live(bytes).map_err(invalid)? {
        true => Some(join(bytes, live).map_err(invalid)?),
        false => None,
    };
    let passing = engines.make().map_err(invalid)?;
    let mut code = CodeBuilder::new(&passing);
    if joined.is_some() {
        // SAFETY: the joined component's only user of the intrinsics is `live.wat`, which checks each address it loads from;
        // `join` hands them to nothing else. What it loads are counters that other threads store atomically, 32 bits at a
        // time and aligned, which is what a relaxed load is on the machines that we compile for.
        unsafe { code.expose_unsafe_intrinsics(INTRINSICS) };
    }
    let wasm = joined.as_ref().map_or(bytes, |joined| &joined.bytes);
    let compiled = code
        .wasm_binary(wasm, None)
        .and_then(|code| code.compile_component())
        .and_then(|code| code.serialize());
    let compiled = compiled.map_err(invalid)?;
    // SAFETY: these bytes are what this process has just compiled, or has from the cache, which it trusts with native code.
    let code = unsafe { Component::deserialize(engine, compiled) }.map_err(invalid)?;
    touch(&code);
    Ok(Compiled { code, joined })
}

/// Reads a byte of each page of code, so that the first call does not wait for it.
fn touch(code: &Component) {
    for byte in code.text().iter().step_by(4 << 10) {
        std::hint::black_box(byte);
    }
}

/// The names of what it imports, sorted; each is something that this host gives.
fn imports(compiled: &Compiled) -> Result<Vec<String>, LoadError> {
    let shape = compiled.code.component_type();
    let mut names: Vec<String> = shape
        .imports(compiled.code.engine())
        .map(|(name, _)| name.to_owned())
        .filter(|name| name != INTRINSICS)
        .collect();
    for name in &names {
        check_version(name)?;
    }
    names.extend(compiled.joined.as_ref().map(|_| LIVE.to_owned()));
    names.sort();
    Ok(names)
}

fn link(linker: &Linker<Guest>, code: &Component) -> Result<InstancePre<Guest>, LoadError> {
    let mut linker = linker.clone();
    wasi::define(&mut linker, code)
        .and_then(|()| linker.instantiate_pre(code))
        .map_err(|e| {
            LoadError::new(
                format!("it imports what plugins are not given: {e:#}"),
                "plugins get `tidegate:plugin/host`, `local-store` and `crypto`, `live-v1`, probers `probe-stream`, and WASI 0.2",
            )
        })
}

/// The roles must have the functions and types that the WIT gives them.
fn check_shape(prepared: &InstancePre<Guest>) -> Result<(), LoadError> {
    guest::check(prepared, |interface| {
        format!("{PACKAGE}{interface}@{WIT_VERSION}")
    })
    .map_err(|e| {
        LoadError::new(
            format!("it is not built on the WIT of {WIT_VERSION}: {e:#}"),
            "build it on tidegate-sdk, or on the WIT of this version",
        )
    })
}

/// Only what is called where waiting hurts nobody may be linked with functions that wait.
fn check_prober(roles: Roles, imports: &[String]) -> Result<(), LoadError> {
    let alone = Roles {
        prober: true,
        ..Roles::default()
    };
    let waits = |name: &String| name.starts_with("tidegate:plugin/probe-stream@");
    if roles.prober && roles != alone {
        return Err(LoadError::new(
            format!("a prober has no other role, and it has these: {roles}"),
            "make two plugins of it",
        ));
    }
    if !roles.prober && imports.iter().any(waits) {
        return Err(LoadError::new(
            "it imports `probe-stream`, which is for probers",
            "export the role prober, or do without it",
        ));
    }
    Ok(())
}

/// An interface of ours must be of a version that this host speaks.
fn check_version(name: &str) -> Result<(), LoadError> {
    let Some((interface, version)) = name.split_once('@') else {
        return Ok(());
    };
    if !interface.starts_with(PACKAGE) || compatible(version) {
        return Ok(());
    }
    Err(LoadError::new(
        format!("it was built for {interface}@{version}"),
        format!("this proxy speaks version {WIT_VERSION}; build it on the SDK of that version"),
    ))
}

/// Semantic versioning as the component model has it: below 1.0, the minor number must agree.
fn compatible(version: &str) -> bool {
    let minor = |v: &str| -> Vec<String> { v.split('.').take(2).map(str::to_owned).collect() };
    minor(version) == minor(WIT_VERSION)
}

fn exports_of(code: &Component) -> Result<(Exports, Roles, String), LoadError> {
    let version = exported_version(code)?;
    let interface = |name: &str| {
        let full = format!("{PACKAGE}{name}@{WIT_VERSION}");
        code.get_export_index(None, full.as_str())
    };
    let function = |within: &Option<ComponentExportIndex>, name: &str| {
        code.get_export_index(within.as_ref(), name)
            .filter(|_| within.is_some())
    };
    let plugin = interface("plugin");
    let configure = function(&plugin, "configure").ok_or_else(|| {
        LoadError::new(
            format!("it does not export {PACKAGE}plugin@{WIT_VERSION}, which every plugin must"),
            "build it on tidegate-sdk, with `export!` in it",
        )
    })?;
    let (stateful, router) = (interface("stateful"), interface("router"));
    let (request, response) = (interface("request-filter"), interface("response-filter"));
    let (balancer, request_balancer) = (interface("balancer"), interface("request-balancer"));
    let sticky = interface("sticky");
    let connect = interface("connect");
    let health = interface("health");
    let prober = interface("prober");
    let roles = Roles {
        connect: connect.is_some(),
        router: router.is_some(),
        request_filter: request.is_some(),
        response_filter: response.is_some(),
        balancer: balancer.is_some(),
        request_balancer: request_balancer.is_some(),
        sticky: sticky.is_some(),
        health: health.is_some(),
        prober: prober.is_some(),
        stateful: stateful.is_some(),
    };
    if roles.none() {
        return Err(LoadError::new(
            "it exports none of the roles that this proxy uses",
            "export at least one: connect, router, request-filter, response-filter, balancer, request-balancer, sticky, health, prober",
        ));
    }
    let exports = Exports {
        configure,
        snapshot: function(&stateful, "snapshot"),
        restore: function(&stateful, "restore"),
        connect: function(&connect, "on-connect"),
        route: function(&router, "on-route"),
        request: function(&request, "on-request"),
        resume: function(&request, "resume"),
        response: function(&response, "on-response"),
        update: function(&balancer, "update"),
        pick: function(&balancer, "pick"),
        pick_again: function(&balancer, "pick-again"),
        request_update: function(&request_balancer, "update"),
        request_pick: function(&request_balancer, "pick"),
        find: function(&sticky, "find"),
        bind: function(&sticky, "bind"),
        judge: function(&health, "judge"),
        probe: function(&prober, "probe"),
    };
    Ok((exports, roles, version))
}

/// The version in the names of what it exports of ours; every one must be spoken here.
fn exported_version(code: &Component) -> Result<String, LoadError> {
    let mut found = None;
    for (name, export) in code.component_type().exports(code.engine()) {
        let ours = name.starts_with(PACKAGE);
        if ours && matches!(export.ty, ComponentItem::ComponentInstance(_)) {
            check_version(name)?;
            found = name.split_once('@').map(|(_, version)| version.to_owned());
        }
    }
    found.ok_or_else(|| {
        LoadError::new(
            "it is no Tidegate plugin: it exports nothing of `tidegate:plugin`",
            "build it on tidegate-sdk, with `export!` in it",
        )
    })
}

fn invalid(words: impl fmt::Display) -> LoadError {
    LoadError::new(
        format!("it is not valid: {words:#}"),
        "build it again; the file may be damaged",
    )
}

impl Roles {
    /// `balancer` or `request-balancer`.
    pub fn any_balancer(&self) -> bool {
        self.balancer || self.request_balancer
    }

    fn names(&self) -> [(bool, &'static str); 10] {
        [
            (self.connect, "connect"),
            (self.router, "router"),
            (self.request_filter, "request-filter"),
            (self.response_filter, "response-filter"),
            (self.balancer, "balancer"),
            (self.request_balancer, "request-balancer"),
            (self.sticky, "sticky"),
            (self.health, "health"),
            (self.prober, "prober"),
            (self.stateful, "stateful"),
        ]
    }

    fn none(&self) -> bool {
        let filter = self.request_filter || self.response_filter;
        let of_requests = filter || self.router || self.any_balancer() || self.sticky;
        !(of_requests || self.connect || self.health || self.prober)
    }
}

/// The WIT's names, separated by ", ".
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names().into_iter().filter(|(has, _)| *has);
        let names: Vec<&str> = names.map(|(_, name)| name).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Module => "core module",
            Kind::Component => "component",
        })
    }
}
