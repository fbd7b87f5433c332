//! Builds the workspace guests/ for wasm32 and turns each guest into a component.
//!
//! Two toolchains will do. Where rustup has the target `wasm32-wasip2` (the normal way) its output
//! is a component already. Else Debian's `rustc-web`, `rust-web-src`, `wasi-libc` and rustup's own
//! `rust-lld` build a core module for `wasm32-wasip1` together with the standard library, and the
//! preview 1 adapter makes it a component.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasi_preview1_component_adapter_provider as adapter;

/// Decoders run 1.2 to 2 times faster with it, and every engine we know has it.
const TARGET_FEATURES: &str = "-Ctarget-feature=+simd128";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_WASI_LIBC: &str = "/usr/lib/wasm32-wasi";
const HELP: &str = "no Rust toolchain for guests was found. Either `rustup target add \
    wasm32-wasip2`, or on Debian `apt-get install rustc-web rust-web-src wasi-libc`";

/// How guests are compiled on this machine.
enum Toolchain {
    /// rustup's `wasm32-wasip2`.
    Rustup,
    /// Debian's compiler for `wasm32-wasip1`, with the linker at this path.
    Debian { linker: PathBuf },
}

fn main() -> Result<(), Box<dyn Error>> {
    let guests = fs::canonicalize("../../guests")?;
    for watched in ["../../guests", "../../wit", "build.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    // OUT_DIR is <target>/<profile>/build/<package>/out: share one guest build among profiles.
    let target_dir = out_dir.ancestors().nth(4).ok_or("OUT_DIR is too short")?.join("guests");

    let mut packages: Vec<Guest> = ["encoder", "validator"]
        .map(|name| Guest::named(name, &format!("backlot_{name}"), guests.join(name)))
        .into();
    if env::var_os("CARGO_FEATURE_FIXTURES").is_some() {
        packages.extend(fixtures(&guests)?);
    }
    let toolchain = Toolchain::find()?;
    toolchain.build(&guests, &target_dir, &packages)?;

    let mut source = String::new();
    let mut fixture_names = Vec::new();
    for guest in &packages {
        let component = out_dir.join(format!("{}.wasm", guest.package));
        let module = fs::read(toolchain.artifact(&target_dir, &guest.package))?;
        fs::write(&component, toolchain.component(module)?)?;
        let manifest = guest.folder.join("function.toml");
        let manifest =
            if manifest.is_file() { fs::read_to_string(manifest)? } else { guest.bare_manifest() };
        writeln!(
            source,
            "/// The guest `{name}`.\npub static {constant}: Builtin = Builtin {{ name: {name:?}, \
             component: include_bytes!({component:?}), manifest: {manifest:?} }};",
            name = guest.name,
            constant = guest.name.replace('-', "_").to_uppercase(),
        )?;
        if guest.folder.starts_with(guests.join("fixtures")) {
            fixture_names.push(guest.name.replace('-', "_").to_uppercase());
        }
    }
    if !fixture_names.is_empty() {
        writeln!(source, "/// Every fixture.\npub static FIXTURES: &[&Builtin] = &[")?;
        for constant in fixture_names {
            writeln!(source, "    &{constant},")?;
        }
        writeln!(source, "];")?;
    }
    fs::write(out_dir.join("guests.rs"), source)?;
    Ok(())
}

struct Guest {
    name: String,
    package: String,
    folder: PathBuf,
}

impl Guest {
    fn named(name: &str, package: &str, folder: PathBuf) -> Self {
        Self { name: name.to_owned(), package: package.to_owned(), folder }
    }

    /// A fixture without a manifest is granted nothing and triggered by nothing.
    fn bare_manifest(&self) -> String {
        format!("name = {:?}\n", self.name)
    }
}

/// The folders of guests/fixtures: folder `echo` holds package `fixture_echo`.
fn fixtures(guests: &Path) -> Result<Vec<Guest>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(guests.join("fixtures"))? {
        let folder = entry?.path();
        if !folder.join("Cargo.toml").is_file() {
            continue;
        }
        let name = folder.file_name().and_then(|name| name.to_str()).ok_or("odd folder name")?;
        let package = format!("fixture_{}", name.replace('-', "_"));
        found.push(Guest::named(name, &package, folder.clone()));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

impl Toolchain {
    fn find() -> Result<Self, Box<dyn Error>> {
        let rustc = env::var("RUSTC")?;
        let sysroot = Command::new(&rustc).args(["--print", "sysroot"]).output()?;
        let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim());
        if sysroot.join("lib/rustlib/wasm32-wasip2/lib").is_dir() {
            return Ok(Self::Rustup);
        }
        let host = env::var("HOST")?;
        let linker = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
        if linker.is_file()
            && Path::new(DEBIAN_RUSTC).is_file()
            && Path::new(DEBIAN_WASI_LIBC).is_dir()
        {
            return Ok(Self::Debian { linker });
        }
        Err(HELP.into())
    }

    fn target(&self) -> &'static str {
        match self {
            Self::Rustup => "wasm32-wasip2",
            Self::Debian { .. } => "wasm32-wasip1",
        }
    }

    fn artifact(&self, target_dir: &Path, package: &str) -> PathBuf {
        target_dir.join(self.target()).join("release").join(format!("{package}.wasm"))
    }

    fn build(
        &self,
        guests: &Path,
        target_dir: &Path,
        packages: &[Guest],
    ) -> Result<(), Box<dyn Error>> {
        let mut cargo = Command::new(env::var("CARGO")?);
        // The outer cargo's variables describe the host's build, not this one.
        for (name, _) in env::vars_os() {
            let name_text = name.to_string_lossy();
            if (name_text.starts_with("CARGO") && name_text != "CARGO_HOME")
                || name_text.starts_with("RUSTC")
                || name_text.starts_with("RUSTFLAGS")
            {
                cargo.env_remove(&name);
            }
        }
        cargo.current_dir(guests).args(["build", "--release", "--locked", "--target"]);
        cargo.arg(self.target()).env("CARGO_TARGET_DIR", target_dir);
        for guest in packages {
            cargo.args(["--package", &guest.package]);
        }
        match self {
            Self::Rustup => {
                cargo.env("RUSTFLAGS", TARGET_FEATURES);
            }
            Self::Debian { linker } => {
                cargo.arg("-Zbuild-std=std,panic_abort");
                cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", DEBIAN_RUSTC);
                cargo.env("CARGO_TARGET_WASM32_WASIP1_LINKER", linker).env(
                    "RUSTFLAGS",
                    format!(
                        "{TARGET_FEATURES} -Clink-self-contained=no -L{DEBIAN_WASI_LIBC} \
                         -Clink-arg={DEBIAN_WASI_LIBC}/crt1-reactor.o"
                    ),
                );
            }
        }
        let status = cargo.status()?;
        if status.success() { Ok(()) } else { Err("the guests did not build (see above)".into()) }
    }

    fn component(&self, module: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
        match self {
            Self::Rustup => Ok(module),
            Self::Debian { .. } => Ok(wit_component::ComponentEncoder::default()
                .module(&module)?
                .adapter(
                    adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                    adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
                )?
                .validate(true)
                .encode()?),
        }
    }
}
