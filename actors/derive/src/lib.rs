//! `#[derive(Record)]`: lets values of a type travel on an edge.
//!
//! The derive writes `assign` field by field, so that a record which is overwritten in place keeps what its fields
//! have allocated; a derived `Clone` alone would free and allocate them anew for every record.

mod assign;
mod kit;

use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Result, parse_macro_input, parse_quote};

/// Implements `Record` with an `assign` that goes field by field.
///
/// The type also needs `Clone`, `Serialize` and `Deserialize`:
///
/// ```
/// use piton_actors::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize, Record)]
/// struct Order {
///     id: u64,
///     item: String,
/// }
///
/// let mut slot = Order { id: 1, item: "a long enough text".into() };
/// slot.assign(&Order { id: 2, item: "tea".into() });
/// assert_eq!((slot.id, &*slot.item), (2, "tea"));
/// ```
///
/// `Record` is found in `piton_actors` or `piton`, whichever the crate depends on, under whatever name. A crate that
/// depends on neither (because it gets them from a third one) says where it is: `#[record(crate = other::piton)]`.
///
/// A record owns what it holds:
///
/// ```compile_fail
/// use piton_actors::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize, Record)]
/// struct Borrowed<'a> {
///     item: &'a str,
/// }
/// ```
///
/// And it must be possible to write it down:
///
/// ```compile_fail
/// #[derive(Clone, piton_actors::Record)]
/// struct Unwritten {
///     id: u64,
/// }
/// ```
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    implement(input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn implement(mut input: DeriveInput) -> Result<proc_macro2::TokenStream> {
    if let Some(lifetime) = input.generics.lifetimes().next() {
        let message = "a record must own what it holds, because it outlives the call that made it: \
                       use `String` for `&str`, `Vec<T>` for `&[T]`";
        return Err(Error::new_spanned(lifetime, message));
    }
    let assign = match &input.data {
        Data::Struct(data) => assign::of_struct(&data.fields),
        Data::Enum(data) => assign::of_enum(data),
        Data::Union(data) => {
            let message = "a union cannot be a record, because nobody knows which of its fields is valid: use an enum";
            return Err(Error::new_spanned(data.union_token, message));
        }
    };
    let kit = kit::path(&input.attrs)?;
    for parameter in input.generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#kit::Record));
    }
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #kit::Record for #name #type_generics #where_clause {
            #[inline]
            #[allow(unreachable_patterns, unused_variables)]
            fn assign(&mut self, from: &Self) {
                #assign
            }
        }
    })
}
