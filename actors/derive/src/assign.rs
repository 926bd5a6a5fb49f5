//! Writes the body of `assign`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DataEnum, Fields, Index, Variant};

/// Assigns each field.
pub(crate) fn of_struct(fields: &Fields) -> TokenStream {
    let assigned = fields.iter().enumerate().map(|(index, field)| {
        let member = match &field.ident {
            Some(ident) => quote!(#ident),
            None => {
                let index = Index::from(index);
                quote!(#index)
            }
        };
        quote!(::core::clone::Clone::clone_from(&mut self.#member, &from.#member);)
    });
    quote!(#(#assigned)*)
}

/// Assigns each field if the variant stays; if it changes, nothing of the old one can be reused.
pub(crate) fn of_enum(data: &DataEnum) -> TokenStream {
    let arms = data.variants.iter().filter(|variant| !variant.fields.is_empty()).map(arm);
    quote! {
        match (&mut *self, from) {
            #(#arms)*
            (whole, from) => *whole = ::core::clone::Clone::clone(from),
        }
    }
}

fn arm(variant: &Variant) -> TokenStream {
    let name = &variant.ident;
    let into: Vec<_> = (0..variant.fields.len()).map(|index| format_ident!("into_{index}")).collect();
    let from: Vec<_> = (0..variant.fields.len()).map(|index| format_ident!("from_{index}")).collect();
    let pattern = |bound: &[syn::Ident]| match &variant.fields {
        Fields::Named(fields) => {
            let names = fields.named.iter().map(|field| &field.ident);
            quote!(Self::#name { #(#names: #bound),* })
        }
        Fields::Unnamed(_) | Fields::Unit => quote!(Self::#name(#(#bound),*)),
    };
    let (into_pattern, from_pattern) = (pattern(&into), pattern(&from));
    quote! {
        (#into_pattern, #from_pattern) => {
            #(::core::clone::Clone::clone_from(#into, #from);)*
        }
    }
}
