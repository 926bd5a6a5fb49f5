//! Finds the crate that `Record` is in, as the crate that derives it knows it.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::Span;
use quote::format_ident;
use syn::{Attribute, Error, Path, Result, parse_quote};

/// Returns what `::Record` goes behind.
///
/// # Errors
/// If the crate depends on none that has it, or an attribute cannot be read.
pub(crate) fn path(attributes: &[Attribute]) -> Result<Path> {
    let mut told = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("record")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("unknown option of `record` (known: `crate = path::to::piton`)"));
            }
            told = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    told.or_else(|| find("piton-actors")).or_else(|| find("piton")).ok_or_else(|| {
        let message = "`Record` is in the crate `piton` (or `piton-actors`), which this crate does not depend on: \
                       add it to Cargo.toml, or say where it is by `#[record(crate = path::to::piton)]`";
        Error::new(Span::call_site(), message)
    })
}

fn find(package: &str) -> Option<Path> {
    let name = match crate_name(package).ok()? {
        FoundCrate::Name(name) => name,
        // The library calls itself by its own name (`extern crate self`); its tests and benches do so anyway.
        FoundCrate::Itself => package.replace('-', "_"),
    };
    let name = format_ident!("{name}");
    Some(parse_quote!(::#name))
}
