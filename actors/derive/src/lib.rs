//! `#[derive(Record)]`: lets values of a type travel on an edge.
//!
//! The derive writes `assign` field by field, so that a record which is overwritten in place keeps what its fields
//! have allocated; a derived `Clone` alone would free and allocate them anew for every record.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Fields, Index, parse_macro_input, parse_quote};

/// Implements `piton_actors::Record` with a field-wise `assign`.
#[proc_macro_derive(Record)]
pub fn derive_record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let name = &input.ident;
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::piton_actors::Record));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let assign = match &input.data {
        Data::Struct(data) => assign_fields(&data.fields),
        // An enum may change its variant, and then nothing of the old one can be reused.
        Data::Enum(_) | Data::Union(_) => quote!(::core::clone::Clone::clone_from(self, from);),
    };
    quote! {
        impl #impl_generics ::piton_actors::Record for #name #type_generics #where_clause {
            #[inline]
            fn assign(&mut self, from: &Self) {
                #assign
            }
        }
    }
    .into()
}

fn assign_fields(fields: &Fields) -> proc_macro2::TokenStream {
    let members = fields.iter().enumerate().map(|(index, field)| match &field.ident {
        Some(ident) => {
            let ident = format_ident!("{ident}");
            quote!(#ident)
        }
        None => {
            let index = Index::from(index);
            quote!(#index)
        }
    });
    let assigned = members.map(|member| quote!(::core::clone::Clone::clone_from(&mut self.#member, &from.#member);));
    quote!(let _ = from; #(#assigned)*)
}
