//! The bindings are made from wit/, which cargo does not know of.

fn main() {
    println!("cargo::rerun-if-changed=../../wit");
}
