//! How the values of a column are written.

use std::any::TypeId;

/// How each value of a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) enum Encoding {
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
    Bool,
    /// With the names of fields, so that a type may gain fields with a default.
    MessagePack,
}

/// A type whose values are written as they are, all with the same width.
pub(in crate::state) trait Primitive: Copy + 'static {
    const WIDTH: usize;
    /// Writes the value over as many bytes as it is wide.
    fn store(self, out: &mut [u8]);
    /// Returns nothing if no value is written so.
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Primitive for $number {
            const WIDTH: usize = size_of::<$number>();
            #[inline]
            fn store(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn read(bytes: &[u8]) -> Option<$number> {
                Some(<$number>::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

impl Primitive for bool {
    const WIDTH: usize = 1;
    fn store(self, out: &mut [u8]) {
        out[0] = u8::from(self);
    }
    fn read(bytes: &[u8]) -> Option<bool> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

/// Applies a macro to every pair of encoding and primitive type.
macro_rules! for_primitives {
    ($apply:ident) => {
        $apply! {
            (U8, u8), (U16, u16), (U32, u32), (U64, u64), (I8, i8), (I16, i16), (I32, i32), (I64, i64),
            (F32, f32), (F64, f64), (Bool, bool)
        }
    };
}
pub(in crate::state) use for_primitives;

macro_rules! encodings {
    ($(($encoding:ident, $primitive:ty)),*) => {
        impl Encoding {
            /// Returns how values of a type are written.
            pub(in crate::state) fn of<T: 'static>() -> Encoding {
                let id = TypeId::of::<T>();
                $(if id == TypeId::of::<$primitive>() {
                    return Encoding::$encoding;
                })*
                Encoding::MessagePack
            }

            /// Returns what stands in the schema.
            pub(in crate::state) fn name(self) -> &'static str {
                match self {
                    $(Encoding::$encoding => stringify!($primitive),)*
                    Encoding::MessagePack => "msgpack",
                }
            }

            pub(super) fn from_name(name: &str) -> Option<Encoding> {
                match name {
                    $(stringify!($primitive) => Some(Encoding::$encoding),)*
                    "msgpack" => Some(Encoding::MessagePack),
                    _ => None,
                }
            }

            /// Returns how many bytes each value takes; nothing if that varies.
            pub(in crate::state) fn width(self) -> Option<usize> {
                match self {
                    $(Encoding::$encoding => Some(<$primitive as Primitive>::WIDTH),)*
                    Encoding::MessagePack => None,
                }
            }
        }
    };
}
for_primitives!(encodings);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_has_its_name() {
        let encodings =
            [Encoding::of::<u64>(), Encoding::of::<bool>(), Encoding::of::<f32>(), Encoding::of::<String>()];
        assert_eq!(encodings.map(Encoding::name), ["u64", "bool", "f32", "msgpack"]);
        assert_eq!(encodings.map(|encoding| Encoding::from_name(encoding.name())), encodings.map(Some));
        assert_eq!(encodings.map(Encoding::width), [Some(8), Some(1), Some(4), None]);
    }
}
