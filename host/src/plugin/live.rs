//! Gives a plugin the live counters: joins it with `live.wat` into one component, so that the compiler inlines the loads
//! and reading a counter costs a nanosecond or two.
//!
//! The joined component imports what the plugin imports, except `live-v1`; in that one's place, under the same indexes, it
//! imports the compiler's unsafe intrinsics, which `live.wat` alone is given. It holds both components as they are. So the
//! plugin's bytes are never rewritten, and what it can reach is decided by the arguments that it is instantiated with.
//! (wasmtime can join them itself, but goes through files in a temporary folder to do so.)

use wasm_encoder::{
    Component, ComponentAliasSection, ComponentExportKind, ComponentExportSection,
    ComponentImportSection, ComponentInstanceSection, ComponentTypeRef, ComponentTypeSection,
    ComponentValType, Encode, InstanceType, PrimitiveValType, RawSection,
};
use wasmparser::{ComponentExternalKind, ComponentTypeRef as Imported, Parser, Payload};

/// The plain name of the interface; a full one is not possible for code that is inlined.
pub(super) const LIVE: &str = "live-v1";
pub(super) const INTRINSICS: &str = "unsafe-intrinsics";

const COMPONENT_SECTION: u8 = 4;
const ALIAS_SECTION: u8 = 6;
const TYPE_SECTION: u8 = 7;
const IMPORT_SECTION: u8 = 10;

pub(super) struct Joined {
    pub(super) bytes: Vec<u8>,
    /// It asks for averages, which decay by the clock.
    pub(super) reads_ewma: bool,
}

/// Whether a component asks for the live counters.
pub(super) fn imports_live(plugin: &[u8]) -> Result<bool, String> {
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(plugin) {
        match payload.map_err(|e| e.to_string())? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    if import.map_err(|e| e.to_string())?.name.name == LIVE {
                        return Ok(true);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(false)
}

/// Joins a component that imports [`LIVE`] with the component that implements it.
pub(super) fn join(plugin: &[u8], live: &[u8]) -> Result<Joined, String> {
    let outline = Outline::read(plugin).map_err(|e| e.to_string())??;
    let mut joined = Component::new();
    for section in &outline.head {
        joined.section(&RawSection {
            id: section.id,
            data: &section.encoded(plugin, outline.live_type),
        });
    }
    for data in [live, plugin] {
        joined.section(&RawSection {
            id: COMPONENT_SECTION,
            data,
        });
    }
    joined.section(&outline.instances());
    let (aliases, exports) = outline.exports();
    joined.section(&aliases);
    joined.section(&exports);
    Ok(Joined {
        bytes: joined.finish(),
        reads_ewma: outline.reads_ewma(plugin),
    })
}

/// What joining needs to know of a plugin's component: the sections up to its last import, and its exports.
#[derive(Default)]
struct Outline {
    head: Vec<Section>,
    imports: Vec<(String, ComponentExportKind, u32)>,
    exports: Vec<(String, ComponentExportKind)>,
    live_type: u32,
    /// The sizes of the index spaces so far.
    types: u32,
    functions: u32,
    instances: u32,
}

/// A section whose items are known by where they lie.
struct Section {
    id: u8,
    items: Vec<(std::ops::Range<usize>, Item)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Item {
    Type(u32),
    LiveImport,
    Other,
}

type Reading<T> = wasmparser::Result<Result<T, String>>;

impl Outline {
    fn read(plugin: &[u8]) -> Reading<Outline> {
        let mut outline = Outline::default();
        let mut pending = Vec::new();
        let (mut depth, mut body) = (0, false);
        for payload in Parser::new(0).parse_all(plugin) {
            match payload? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                _ if depth != 1 => {}
                Payload::ComponentTypeSection(reader) if !body => {
                    pending.push(outline.types(reader)?);
                }
                Payload::ComponentAliasSection(reader) if !body => {
                    pending.push(outline.aliases(reader)?);
                }
                Payload::ComponentImportSection(_) if body => {
                    return Ok(Err("its imports do not come first".to_owned()));
                }
                Payload::ComponentImportSection(reader) => {
                    pending.push(match outline.import(reader)? {
                        Ok(section) => section,
                        Err(words) => return Ok(Err(words)),
                    });
                    outline.head.append(&mut pending);
                }
                Payload::ComponentExportSection(reader) => {
                    for export in reader {
                        let export = export?;
                        let name = export.name.name.to_owned();
                        outline.exports.extend(kind(export.kind).map(|k| (name, k)));
                    }
                }
                Payload::CustomSection(_) => {}
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => body = true,
                _ => {}
            }
        }
        Ok(Ok(outline))
    }

    fn reads_ewma(&self, plugin: &[u8]) -> bool {
        let items = self.head.iter().flat_map(|section| &section.items);
        let mut types = items.filter(|(_, item)| *item == Item::Type(self.live_type));
        let name = b"ewma-us";
        types.any(|(range, _)| plugin[range.clone()].windows(name.len()).any(|w| w == name))
    }

    fn types(
        &mut self,
        reader: wasmparser::ComponentTypeSectionReader<'_>,
    ) -> wasmparser::Result<Section> {
        let end = reader.range().end;
        let mut starts = Vec::new();
        for item in reader.into_iter_with_offsets() {
            starts.push((item?.0, Item::Type(self.types)));
            self.types += 1;
        }
        Ok(Section::new(TYPE_SECTION, starts, end))
    }

    fn aliases(
        &mut self,
        reader: wasmparser::SectionLimited<'_, wasmparser::ComponentAlias<'_>>,
    ) -> wasmparser::Result<Section> {
        use wasmparser::{ComponentAlias as Alias, ComponentOuterAliasKind as Outer};
        let end = reader.range().end;
        let mut starts = Vec::new();
        for item in reader.into_iter_with_offsets() {
            let (start, alias) = item?;
            starts.push((start, Item::Other));
            match alias {
                Alias::InstanceExport { kind, .. } => self.count(kind),
                Alias::Outer {
                    kind: Outer::Type, ..
                } => self.types += 1,
                _ => {}
            }
        }
        Ok(Section::new(ALIAS_SECTION, starts, end))
    }

    fn import(&mut self, reader: wasmparser::ComponentImportSectionReader<'_>) -> Reading<Section> {
        let end = reader.range().end;
        let mut starts = Vec::new();
        for item in reader.into_iter_with_offsets() {
            let (start, import) = item?;
            let name = import.name.name;
            let found = match import.ty {
                Imported::Instance(_) => (ComponentExportKind::Instance, self.instances),
                Imported::Func(_) => (ComponentExportKind::Func, self.functions),
                Imported::Type(_) => (ComponentExportKind::Type, self.types),
                _ => return Ok(Err(format!("it imports `{name}`, which is no interface"))),
            };
            if name == INTRINSICS {
                return Ok(Err(format!("it imports `{name}`, which no plugin may")));
            }
            let mut item = Item::Other;
            if let (LIVE, Imported::Instance(index)) = (name, import.ty) {
                self.live_type = index;
                item = Item::LiveImport;
            }
            starts.push((start, item));
            self.imports.push((name.to_owned(), found.0, found.1));
            self.count(import.ty.kind());
        }
        Ok(Ok(Section::new(IMPORT_SECTION, starts, end)))
    }

    fn count(&mut self, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Type => self.types += 1,
            ComponentExternalKind::Func => self.functions += 1,
            ComponentExternalKind::Instance => self.instances += 1,
            _ => {}
        }
    }

    /// `live.wat` with the intrinsics, then the plugin with that and with what is imported for it.
    fn instances(&self) -> ComponentInstanceSection {
        let live = self.instances;
        let mut section = ComponentInstanceSection::new();
        let intrinsics = self.imports.iter().find(|i| i.0 == LIVE);
        section.instantiate(
            0,
            intrinsics.map(|(_, kind, index)| (INTRINSICS, *kind, *index)),
        );
        let arguments = self.imports.iter().map(|(name, kind, index)| {
            let index = if name == LIVE { live } else { *index };
            (name.as_str(), *kind, index)
        });
        section.instantiate(1, arguments.collect::<Vec<_>>());
        section
    }

    /// The plugin's exports, handed on.
    fn exports(&self) -> (ComponentAliasSection, ComponentExportSection) {
        let plugin = self.instances + 1;
        let (mut instances, mut functions) = (self.instances + 2, self.functions);
        let mut aliases = ComponentAliasSection::new();
        let mut exports = ComponentExportSection::new();
        for (name, kind) in &self.exports {
            let next = match kind {
                ComponentExportKind::Instance => &mut instances,
                _ => &mut functions,
            };
            aliases.alias(wasm_encoder::Alias::InstanceExport {
                instance: plugin,
                kind: *kind,
                name,
            });
            exports.export(name, *kind, *next, None);
            *next += 1;
        }
        (aliases, exports)
    }
}

impl Section {
    /// Items lie one after the other: each ends where the next begins.
    fn new(id: u8, starts: Vec<(usize, Item)>, end: usize) -> Section {
        let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([end]);
        let items = starts
            .iter()
            .zip(ends)
            .map(|((start, item), end)| (*start..end, *item))
            .collect();
        Section { id, items }
    }

    /// The section's contents, with the intrinsics in the place of the live counters.
    fn encoded(&self, plugin: &[u8], live_type: u32) -> Vec<u8> {
        let mut out = Vec::new();
        (self.items.len() as u32).encode(&mut out);
        for (range, item) in &self.items {
            match item {
                Item::Type(index) if *index == live_type => out.extend(intrinsics_type()),
                Item::LiveImport => out.extend(intrinsics_import(live_type)),
                _ => out.extend_from_slice(&plugin[range.clone()]),
            }
        }
        out
    }
}

/// Handed on are interfaces and functions; nothing else that a plugin exports has a meaning here.
fn kind(kind: ComponentExternalKind) -> Option<ComponentExportKind> {
    match kind {
        ComponentExternalKind::Instance => Some(ComponentExportKind::Instance),
        ComponentExternalKind::Func => Some(ComponentExportKind::Func),
        _ => None,
    }
}

fn intrinsics_type() -> Vec<u8> {
    use ComponentValType::Primitive;
    use PrimitiveValType::{U32, U64};
    let mut instance = InstanceType::new();
    let functions = [
        ("store-data-address", None, U64),
        ("u32-native-load", Some("pointer"), U32),
        ("u64-native-load", Some("pointer"), U64),
    ];
    for (index, (name, parameter, result)) in functions.into_iter().enumerate() {
        instance
            .ty()
            .function()
            .params(parameter.map(|pointer| (pointer, Primitive(U64))))
            .result(Some(Primitive(result)));
        instance.export(name, ComponentTypeRef::Func(index as u32));
    }
    let mut section = ComponentTypeSection::new();
    section.instance(&instance);
    only_item(&section)
}

fn intrinsics_import(live_type: u32) -> Vec<u8> {
    let mut section = ComponentImportSection::new();
    section.import(INTRINSICS, ComponentTypeRef::Instance(live_type));
    only_item(&section)
}

/// The bytes of a section's one item: without the section's size and its count.
fn only_item(section: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    section.encode(&mut bytes);
    let size = bytes.iter().take_while(|b| **b & 0x80 != 0).count() + 1;
    bytes.split_off(size + 1)
}
