//! Where everything stands in the text, and what it is for.

use super::{
    asm::{Assembler, Label, Mark, Purpose, Section, TAIL_ALIGN, Target},
    disassemble,
    listing::{self, Content, instruction_label},
    table::LINE,
};
use crate::compiler::Program;
use std::collections::HashSet;

/// What the assembler makes.
pub(super) struct Assembled {
    pub(super) text: Vec<u8>,
    labels: Vec<Option<(Section, usize)>>,
    cold: usize,
    /// Where constants, table and what stands behind everything begin.
    data: [usize; 3],
    marks: Vec<Mark>,
}

impl Assembled {
    /// The label's offset in the text.
    pub(super) fn offset(&self, label: Label) -> Option<usize> {
        let (section, at) = self.labels[label.0 as usize]?;
        Some(self.place(section, at))
    }

    fn place(&self, section: Section, at: usize) -> usize {
        match section {
            Section::Hot => at,
            Section::Cold => self.cold + at,
        }
    }

    /// The text with what it is for; `blocks` are the labels of the program's.
    pub(super) fn listing(&self, program: &Program<'_>, blocks: &[Label]) -> String {
        let mut labels = vec![listing::Label::new(0, Content::Code, "entry")];
        for (index, label) in blocks.iter().enumerate() {
            if let Some(at) = self.offset(*label) {
                let first = &program.insts[program.blocks.blocks[index].first as usize];
                let name = instruction_label(&format!("block_{index}"), first);
                labels.push(listing::Label::new(at, Content::Code, name));
            }
        }
        // A disassembler shows one name for each place.
        let named: HashSet<usize> = labels.iter().map(listing::Label::at).collect();
        let marks = self.marks.iter();
        let mut marks: Vec<(usize, &Mark)> = marks
            .map(|mark| (self.place(mark.section, mark.at), mark))
            .collect();
        // Stable: of those at one place the last one has the code.
        marks.sort_by_key(|(at, mark)| (*at, mark.section == Section::Cold));
        let mut last = None;
        for (index, (at, mark)) in marks.iter().enumerate() {
            let is_empty = marks.get(index + 1).is_some_and(|(next, _)| next == at);
            if is_empty || last == Some((mark.section, mark.what)) {
                continue;
            }
            last = Some((mark.section, mark.what));
            let prefix = match mark.section {
                Section::Hot => "at",
                Section::Cold => "rare",
            };
            let name = match mark.what {
                Purpose::Shared => format!("{prefix}_shared"),
                Purpose::Inst(at) => instruction_label(prefix, &program.insts[at as usize]),
            };
            if !named.contains(at) {
                labels.push(listing::Label::new(*at, Content::Code, name));
            }
        }
        let [pool, table, tail] = self.data;
        for (at, end, name) in [(pool, table, "constants"), (table, tail, "jump_table")] {
            if at < end {
                labels.push(listing::Label::new(at, Content::Data, name));
            }
        }
        if tail < self.text.len() {
            labels.push(listing::Label::new(tail, Content::Other, "loops"));
        }
        labels.sort_by_key(listing::Label::at);
        listing::assembly(&self.text, &labels, disassemble::instruction)
    }
}

impl Assembler {
    /// Lays everything out, `table` (a function of the labels' offsets and of its own) behind it, and fills in the
    /// displacements. All labels that are referred to are bound.
    pub(super) fn finish(
        mut self,
        table: impl FnOnce(&Assembled, usize) -> Vec<u8>,
    ) -> Result<Assembled, &'static str> {
        let cold = self.hot.len();
        let mut assembled = Assembled {
            text: std::mem::take(&mut self.hot),
            labels: std::mem::take(&mut self.labels),
            cold,
            data: [0; 3],
            marks: std::mem::take(&mut self.marks.marks),
        };
        assembled.text.append(&mut self.cold);
        let pool_at = assembled.text.len().next_multiple_of(32);
        let table_at = (pool_at + 32 * self.pool.len()).next_multiple_of(LINE);
        let table = table(&assembled, table_at);
        if !self.pool.is_empty() || !table.is_empty() {
            assembled.text.resize(pool_at, 0xcc);
            assembled.text.extend(self.pool.iter().flatten());
            if !table.is_empty() {
                assembled.text.resize(table_at, 0xcc);
                assembled.text.extend(table);
            }
        }
        let data_end = assembled.text.len();
        let tail_at = data_end.next_multiple_of(TAIL_ALIGN);
        if !self.tail.is_empty() {
            assembled.text.resize(tail_at, 0xcc);
            assembled.text.append(&mut self.tail);
        }
        assembled.data = [
            pool_at.min(data_end),
            table_at.min(data_end),
            tail_at.min(assembled.text.len()),
        ];
        for fixup in &self.fixups {
            let at = match fixup.section {
                Section::Hot => fixup.at,
                Section::Cold => cold + fixup.at,
            };
            let target = match fixup.target {
                Target::Label(label) => assembled.offset(label).ok_or("a label is not bound")?,
                Target::Pool(index) => pool_at + 32 * index as usize,
                Target::Table => table_at,
                Target::Tail => tail_at,
            };
            let from = at + 4 + fixup.tail as usize;
            let delta = i32::try_from(target as i64 - from as i64).map_err(|_| "out of reach")?;
            assembled.text[at..at + 4].copy_from_slice(&delta.to_le_bytes());
        }
        Ok(assembled)
    }
}
