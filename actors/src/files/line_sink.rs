//! A sink for records that are lines of a text file.

use std::fmt::Display;
use std::io::Write;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::Deserialize;

use super::{FileFormat, file_sink};
use crate::batch::Rows;
use crate::blueprint::{Fault, KindDoc, OptionDoc, Options, SinkBlueprint, SinkKind, Site, check_inputs, read_options};
use crate::record::{Record, RecordType};

/// One line for each record, as its [`Display`] writes it.
pub struct LineFormat<T>(PhantomData<fn() -> T>);

impl<T> Default for LineFormat<T> {
    fn default() -> LineFormat<T> {
        LineFormat(PhantomData)
    }
}

impl<T: Record + Display> FileFormat for LineFormat<T> {
    type Batch = Rows<T>;
    type In = T;
    type Open = ();

    fn begin(&self, _out: &mut Vec<u8>) -> crate::Result {
        Ok(())
    }

    fn rows(&self, (): &mut (), batch: &Rows<T>, out: &mut Vec<u8>) -> crate::Result {
        for record in batch.iter() {
            writeln!(out, "{record}")?;
        }
        Ok(())
    }
}

/// A kind of sink that writes records of one type as lines into committed files, for a registry:
/// `registry.add_sink_kind("spends", Arc::new(LineSinkKind::<Spend>::default()))`.
pub struct LineSinkKind<T>(PhantomData<fn() -> T>);

impl<T> Default for LineSinkKind<T> {
    fn default() -> LineSinkKind<T> {
        LineSinkKind(PhantomData)
    }
}

#[derive(Deserialize)]
struct Settings {
    path: PathBuf,
}

impl<T: Record + Display> SinkKind for LineSinkKind<T> {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Writes a line for each record into files, which appear once they are committed.",
            options: vec![OptionDoc {
                name: "path",
                default: None,
                doc: "The folder that the files go to; it is made when the job starts. A file is called NAME-SUBTASK-WINDOW.",
            }],
        }
    }

    fn plan(&self, options: &mut Options<'_>, inputs: &[RecordType], site: &Site) -> Result<SinkBlueprint, Vec<Fault>> {
        let settings: Settings = read_options(options)?;
        check_inputs::<T>(inputs)?;
        file_sink(&settings.path, "txt", LineFormat::<T>::default(), site)
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read_options::<Settings>(options).err().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line() {
        let mut out = Vec::new();
        let lines = LineFormat::<u64>::default();
        lines.begin(&mut out).unwrap();
        lines.rows(&mut (), &Rows::new(vec![7, 8]), &mut out).unwrap();
        assert_eq!(out, b"7\n8\n");
    }
}
