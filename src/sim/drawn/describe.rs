//! A made-up job in words: one line for each chain.

use std::fmt;

use crate::protocol::chain::MAIN;
use crate::sim::drawn::topology::Topology;

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, region) in self.regions.iter().enumerate() {
            for (index, vertex) in region.vertices.iter().enumerate() {
                write!(f, "{number}.{index} {} x{}:", vertex.name, vertex.parallelism)?;
                if let Some(source) = &vertex.source {
                    write!(f, " source of partitions {:?}", source.partitions(vertex.parallelism))?;
                    if let Some(drift) = source.max_drift {
                        write!(f, ", {drift} ms ahead")?;
                    }
                }
                for edge in vertex.inputs.iter().map(|edge| &region.edges[*edge]) {
                    write!(f, " <- {} {:?}.{}", region.vertices[edge.from].name, edge.kind, edge.port)?;
                    if edge.exit != MAIN {
                        write!(f, " (aside, {})", edge.exit)?;
                    }
                }
                for (place, operator) in vertex.operators.iter().enumerate() {
                    write!(f, ", {} {:?}", operator.id, operator.kind)?;
                    if operator.reads != [place.checked_sub(1)] {
                        let read = |from: &Option<usize>| from.map(|from| vertex.operators[from].id);
                        let read =
                            operator.reads.iter().map(read).map(|id| id.map_or("in".into(), |id| id.to_string()));
                        write!(f, " (reads {})", read.collect::<Vec<String>>().join(", "))?;
                    }
                }
                if let Some(sink) = &vertex.sink {
                    write!(f, ", sink {} {:?}", sink.id, self.sinks[sink.id].delivery)?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
