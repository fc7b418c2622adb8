//! Lanes of a workgroup that have parts of one result, and how they join them: in the registers of their subgroup where
//! the device has such, and beyond it, or where it has none, in the workgroup's memory.

use crate::gpu::device::Adapter;
use crate::gpu::wgsl::{INVOCATIONS, Source};
use std::collections::BTreeSet;

/// Lanes that make one result, in a workgroup of [`INVOCATIONS`]. The shader's `place` is a lane's number among them.
pub struct Team {
    /// How many: a power of two.
    lanes: u32,
    /// How far they are from each other.
    apart: u32,
    has_subgroups: bool,
    /// The arrays in the workgroup's memory.
    arrays: BTreeSet<String>,
}

/// A partial result that each lane has.
pub struct Partial<'a> {
    /// The variable that holds it.
    pub variable: &'a str,
    /// Its WGSL type.
    pub ty: &'static str,
    /// Gives the text of the join of two, in whatever order.
    pub join: &'a dyn Fn(&mut Source, &str, &str) -> String,
}

impl Team {
    /// So many lanes, so far from each other.
    pub fn new(lanes: u32, apart: u32, adapter: &Adapter) -> Team {
        Team { lanes, apart, has_subgroups: adapter.has_subgroups && apart == 1, arrays: BTreeSet::new() }
    }

    /// Prints what makes the partial results of each lane those of the team. All of the workgroup must come there.
    pub fn join(&mut self, source: &mut Source, partials: &[Partial]) {
        if self.lanes == 1 || partials.is_empty() {
            return;
        }
        let is_used = !self.arrays.is_empty();
        let arrays = partials.iter().enumerate().map(|(index, partial)| self.array(source, partial.ty, index));
        let arrays: Vec<_> = arrays.collect();
        let partials: Vec<_> = partials.iter().zip(arrays).collect();
        match self.has_subgroups {
            true => self.join_subgroups(source, &partials, is_used),
            false => self.join_memory(source, &partials, is_used),
        }
    }

    /// An array of a partial result for each lane.
    fn array(&mut self, source: &mut Source, ty: &str, index: usize) -> String {
        let name = format!("totals_{}_{index}", ty.replace(['<', '>'], ""));
        if self.arrays.insert(name.clone()) {
            source.declare(&format!("var<workgroup> {name}: array<{ty}, {INVOCATIONS}>;"));
        }
        name
    }

    /// Each subgroup joins what its lanes have; each then what the subgroups of the team have. They may be of any size,
    /// and one may have several teams.
    fn join_subgroups(&self, source: &mut Source, partials: &[(&Partial, String)], is_used: bool) {
        let lanes = self.lanes;
        source.use_subgroups();
        exchange(source, partials, &format!("{lanes}u"));
        source.line(format!("if ({lanes}u > subgroup_size) {{"));
        if is_used {
            source.line("workgroupBarrier();");
        }
        source.line("if (subgroup_lane == 0u) {");
        for (Partial { variable, .. }, array) in partials {
            source.line(format!("{array}[subgroup] = {variable};"));
        }
        source.line("}");
        source.line("workgroupBarrier();");
        source.line(format!("let count = {lanes}u / subgroup_size;"));
        source.line("let first = (lane - place) / subgroup_size;");
        for (Partial { variable, .. }, array) in partials {
            source.line(format!("{variable} = {array}[first + (subgroup_lane % count)];"));
        }
        source.line("for (var next = subgroup_lane + subgroup_size; next < count; next += subgroup_size) {");
        for (Partial { variable, join, .. }, array) in partials {
            let joined = join(source, variable, &format!("{array}[first + next]"));
            source.line(format!("{variable} = {joined};"));
        }
        source.line("}");
        exchange(source, partials, "count");
        source.line("}");
    }

    /// Half of the lanes join what they have with what the other half has, until one has all.
    fn join_memory(&self, source: &mut Source, partials: &[(&Partial, String)], is_used: bool) {
        let (other, first) = match self.apart {
            1 => ("step".into(), "lane - place".into()),
            apart => (format!("(step * {apart}u)"), format!("lane % {apart}u")),
        };
        if is_used {
            source.line("workgroupBarrier();");
        }
        for (Partial { variable, .. }, array) in partials {
            source.line(format!("{array}[lane] = {variable};"));
        }
        source.line(format!("for (var step = {}u; step > 0u; step /= 2u) {{", self.lanes / 2));
        source.line("workgroupBarrier();");
        source.line("if (place < step) {");
        for (Partial { join, .. }, array) in partials {
            let (own, others) = (format!("{array}[lane]"), format!("{array}[lane + {other}]"));
            let joined = join(source, &own, &others);
            source.line(format!("{own} = {joined};"));
        }
        source.line("}");
        source.line("}");
        source.line("workgroupBarrier();");
        for (Partial { variable, .. }, array) in partials {
            source.line(format!("{variable} = {array}[{first}];"));
        }
    }
}

/// Prints what joins in each lane what neighbours have, so many of them or a subgroup if that is less.
fn exchange(source: &mut Source, partials: &[(&Partial, String)], lanes: &str) {
    source.line(format!("for (var step = 1u; step < min({lanes}, subgroup_size); step *= 2u) {{"));
    for (Partial { variable, ty, join }, _) in partials {
        let other = match *ty {
            "bool" => format!("subgroupShuffleXor(select(0u, 1u, {variable}), step) != 0u"),
            _ => format!("subgroupShuffleXor({variable}, step)"),
        };
        let other = source.value("other", other);
        let joined = join(source, variable, &other);
        source.line(format!("{variable} = {joined};"));
    }
    source.line("}");
}
