//! Sums of products by a formula of labelled axes.

use super::movement::required;
use crate::attrs::{AttrType, AttrValue};
use crate::dtype::{DType, DTypes};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::infer::Infer;
use crate::op::{InputDef, Lowering, Meaning, OpDef, Sample, Spec, Vjp};
use crate::shape::{Dim, Shape, unify};

/// An axis of a formula: a letter, or an axis of `...`, counted from the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// In increasing order the first axis of `...` comes first, and all of them before the letters.
    Ellipsis(std::cmp::Reverse<usize>),
    Letter(char),
}

/// A formula for operands of known ranks.
struct Formula {
    operands: Vec<Vec<Label>>,
    output: Vec<Label>,
}

fn refuse(text: String) -> Error {
    Error::argument(text).with_argument("equation")
}

/// The letters of a part of a formula, None for `...`.
fn letters(text: &str, equation: &str) -> Result<Vec<Option<char>>> {
    let mut letters = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            if letters.contains(&None) {
                return Err(refuse(format!("{text:?} in the equation {equation:?} has ... twice")));
            }
            letters.push(None);
            rest = after;
        } else if next.is_ascii_alphabetic() {
            letters.push(Some(next));
            rest = &rest[1..];
        } else {
            return Err(refuse(format!(
                "{next:?} in the equation {equation:?}; it has letters, ... , commas and one ->"
            )));
        }
    }
    Ok(letters)
}

/// Letters as labels, with `count` axes for `...`.
fn labels(letters: &[Option<char>], count: usize) -> Vec<Label> {
    let mut labels = Vec::new();
    for letter in letters {
        match letter {
            Some(letter) => labels.push(Label::Letter(*letter)),
            None => labels.extend((0..count).rev().map(|place| Label::Ellipsis(std::cmp::Reverse(place)))),
        }
    }
    labels
}

impl Formula {
    /// # Errors
    /// `argument`: no formula, or not one for operands of these shapes.
    fn new(equation: &str, shapes: &[&Shape]) -> Result<Formula> {
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (inputs, output) = match text.split_once("->") {
            Some((inputs, output)) => (inputs, Some(letters(output, equation)?)),
            None => (&text[..], None),
        };
        let parts: Vec<&str> = inputs.split(',').collect();
        if parts.len() != shapes.len() {
            let (parts, given) = (parts.len(), shapes.len());
            return Err(refuse(format!("the equation {equation:?} is for {parts} operands, not {given}")));
        }
        let (mut operands, mut widest) = (Vec::new(), None);
        for (index, (part, shape)) in parts.iter().zip(shapes).enumerate() {
            let letters = letters(part, equation)?;
            let named = letters.iter().flatten().count();
            let count = match shape.rank().checked_sub(named) {
                Some(0) => 0,
                Some(count) if letters.contains(&None) => count,
                _ => return Err(refuse(format!("{part:?} does not name the axes of operand {index}, {shape}"))),
            };
            if letters.contains(&None) {
                widest = widest.max(Some(count));
            }
            operands.push(labels(&letters, count));
        }
        let output = match output {
            Some(output) => explicit(&output, widest, &operands, equation)?,
            None => implicit(&operands),
        };
        Ok(Formula { operands, output })
    }

    /// The size of each label; the axes of `...` broadcast.
    fn sizes(&self, shapes: &[&Shape], mut unify: impl FnMut(&Dim, &Dim) -> Result<Dim>) -> Result<Vec<(Label, Dim)>> {
        let mut sizes: Vec<(Label, Dim)> = Vec::new();
        for (index, (labels, shape)) in self.operands.iter().zip(shapes).enumerate() {
            for (label, dim) in labels.iter().zip(shape.iter()) {
                let Some((_, size)) = sizes.iter_mut().find(|(other, _)| other == label) else {
                    sizes.push((*label, dim.clone()));
                    continue;
                };
                let stretches = |dim: &Dim| matches!(label, Label::Ellipsis(_)) && dim.as_constant() == Some(1);
                if stretches(size) {
                    *size = dim.clone();
                } else if !stretches(dim) {
                    *size = unify(size, dim).map_err(|_| {
                        let what = match label {
                            Label::Letter(letter) => format!("{letter:?}"),
                            Label::Ellipsis(_) => "an axis of ...".to_string(),
                        };
                        Error::shape(format!("{what} is {size}, but {dim} in operand {index}, {shape}"))
                    })?;
                }
            }
        }
        Ok(sizes)
    }
}

/// The labels after `->`.
fn explicit(
    output: &[Option<char>],
    widest: Option<usize>,
    operands: &[Vec<Label>],
    equation: &str,
) -> Result<Vec<Label>> {
    let labels = labels(output, widest.unwrap_or(0));
    if !output.contains(&None) && widest.is_some_and(|count| count > 0) {
        return Err(refuse(format!("the output of the equation {equation:?} lacks ... , which stands for axes")));
    }
    for (place, label) in labels.iter().enumerate() {
        let Label::Letter(letter) = label else { continue };
        if labels[..place].contains(label) {
            return Err(refuse(format!("{letter:?} stands twice in the output of the equation {equation:?}")));
        }
        if !operands.iter().flatten().any(|other| other == label) {
            return Err(refuse(format!("{letter:?} in the output of the equation {equation:?} is in no operand")));
        }
    }
    Ok(labels)
}

/// The axes of `...`, then the letters that stand once, in alphabetical order.
fn implicit(operands: &[Vec<Label>]) -> Vec<Label> {
    let mut labels: Vec<Label> = operands.iter().flatten().copied().collect();
    let count = |label: &Label| operands.iter().flatten().filter(|other| *other == label).count();
    labels.retain(|label| matches!(label, Label::Ellipsis(_)) || count(label) == 1);
    labels.sort_unstable();
    labels.dedup();
    labels
}

fn infer_einsum(infer: &mut Infer) -> Result<Vec<Spec>> {
    let equation = infer.attrs.text("equation")?;
    let inputs = infer.inputs;
    let shapes: Vec<&Shape> = inputs.iter().flatten().map(|spec| &spec.shape).collect();
    let formula = Formula::new(&equation, &shapes)?;
    let sizes = formula.sizes(&shapes, |a, b| infer.unify(a, b))?;
    let size = |label: &Label| sizes.iter().find(|(other, _)| other == label).map(|(_, size)| size.clone());
    let dims = formula.output.iter().filter_map(size).collect();
    Ok(vec![Spec::new(infer.input(0)?.dtype, Shape::new(dims)?)])
}

/// An operand, or a product of some.
struct Term {
    value: Value,
    labels: Vec<Label>,
}

impl Term {
    fn has(&self, label: &Label) -> bool {
        self.labels.contains(label)
    }

    /// With the axes in another order.
    fn ordered(self, graph: &mut Graph, labels: Vec<Label>) -> Result<Term> {
        let axes: Vec<i64> = labels.iter().filter_map(|label| self.axis(label)).collect();
        let value = if axes.is_sorted() { self.value } else { graph.transpose(self.value, &axes)? };
        Ok(Term { value, labels })
    }

    fn axis(&self, label: &Label) -> Option<i64> {
        self.labels.iter().position(|other| other == label).map(|axis| axis as i64)
    }

    /// Without the axes of `...` along which it is repeated.
    fn narrowed(self, graph: &mut Graph, sizes: &[(Label, Dim)]) -> Result<Term> {
        let shape = graph.spec(self.value).shape.clone();
        let one = Dim::constant(1);
        let repeats = |label: &Label, dim: &Dim| {
            matches!(label, Label::Ellipsis(_))
                && *dim == one
                && sizes.iter().any(|(l, size)| l == label && *size != one)
        };
        let kept: Vec<_> = self.labels.iter().zip(shape.iter()).filter(|(label, dim)| !repeats(label, dim)).collect();
        let dims: Vec<Dim> = kept.iter().map(|(_, dim)| (*dim).clone()).collect();
        Ok(Term {
            value: graph.reshape(self.value, &dims)?,
            labels: kept.into_iter().map(|(label, _)| *label).collect(),
        })
    }

    /// With the diagonal in place of two axes that have one label.
    fn diagonals(mut self, graph: &mut Graph) -> Result<Term> {
        let repeated = |labels: &[Label]| {
            let second = (0..labels.len()).find(|&place| labels[..place].contains(&labels[place]))?;
            Some((labels.iter().position(|label| *label == labels[second])?, second))
        };
        while let Some((first, second)) = repeated(&self.labels) {
            let rest: Vec<usize> = (0..self.labels.len()).filter(|&axis| axis != first && axis != second).collect();
            let order: Vec<i64> = [first, second].iter().chain(&rest).map(|&axis| axis as i64).collect();
            let size = graph.spec(self.value).shape[first].clone();
            let shape = AttrValue::Dims(vec![size, Dim::constant(2)]);
            let places = graph.op("iota", &[("shape", shape), ("dtype", AttrValue::DType(DType::I64))], &[])?;
            let moved = graph.transpose(self.value, &order)?;
            self.value = graph.op("gather", &[], &[moved, places])?;
            self.labels = [first].iter().chain(&rest).map(|&axis| self.labels[axis]).collect();
        }
        Ok(self)
    }

    /// Summed over the axes that nothing else needs.
    fn summed(self, graph: &mut Graph, needed: impl Fn(&Label) -> bool) -> Result<Term> {
        let axes: Vec<i64> = self.labels.iter().filter(|label| !needed(label)).filter_map(|l| self.axis(l)).collect();
        if axes.is_empty() {
            return Ok(self);
        }
        let value = graph.reduce("sum", self.value, &axes, false)?;
        Ok(Term { value, labels: self.labels.into_iter().filter(needed).collect() })
    }
}

/// The labels of a product of two terms: those of both that are needed, the first one's, the second one's.
fn product_labels(x: &Term, y: &Term, needed: &dyn Fn(&Label) -> bool) -> [Vec<Label>; 3] {
    let list = |labels: &[Label], wanted: &dyn Fn(&Label) -> bool| -> Vec<Label> {
        labels.iter().filter(|label| wanted(label)).copied().collect()
    };
    [
        list(&x.labels, &|label| y.has(label) && needed(label)),
        list(&x.labels, &|label| !y.has(label)),
        list(&y.labels, &|label| !x.has(label)),
    ]
}

/// The product of two terms, summed over the labels of both that nothing else needs.
fn multiply(graph: &mut Graph, x: Term, y: Term, needed: &dyn Fn(&Label) -> bool) -> Result<Term> {
    let [batch, free_of_x, free_of_y] = product_labels(&x, &y, needed);
    let labels = [&batch[..], &free_of_x, &free_of_y].concat();
    let summed: Vec<Label> = x.labels.iter().filter(|label| y.has(label) && !needed(label)).copied().collect();
    if summed.is_empty() {
        // Nothing is summed: a product of elements, which other ops may join.
        let x = x.ordered(graph, [&batch[..], &free_of_x].concat())?;
        let y = y.ordered(graph, [&batch[..], &free_of_y].concat())?;
        let ones = |count: usize| (0..count).map(|_| Dim::constant(1));
        let dims = graph.spec(x.value).shape.iter().cloned().chain(ones(free_of_y.len())).collect::<Vec<_>>();
        let left = graph.reshape(x.value, &dims)?;
        let (shared, own) = graph.spec(y.value).shape.split_at(batch.len());
        let dims = [shared, &ones(free_of_x.len()).collect::<Vec<_>>(), own].concat();
        let right = graph.reshape(y.value, &dims)?;
        return Ok(Term { value: graph.mul(left, right)?, labels });
    }
    let axes = |term: &Term, labels: &[Label]| AttrValue::Ints(labels.iter().filter_map(|l| term.axis(l)).collect());
    let attrs = [
        ("x_batch", axes(&x, &batch)),
        ("y_batch", axes(&y, &batch)),
        ("x_contract", axes(&x, &summed)),
        ("y_contract", axes(&y, &summed)),
    ];
    Ok(Term { value: graph.op("dot_general", &attrs, &[x.value, y.value])?, labels })
}

/// Which two terms to multiply next: those whose product has the fewest axes, the first of equals. Sizes have no say: the
/// order, and so the rounding, is the same whether they are known or not.
fn next_pair(terms: &[Term], output: &[Label]) -> (usize, usize) {
    let pairs = (1..terms.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
    let axes = |&(first, second): &(usize, usize)| {
        let needed = |label: &Label| is_needed(label, output, terms, &[first, second]);
        product_labels(&terms[first], &terms[second], &needed).iter().map(Vec::len).sum::<usize>()
    };
    pairs.min_by_key(axes).unwrap_or((0, 1))
}

/// Whether a label is one of the output or of a term beside those of these numbers.
fn is_needed(label: &Label, output: &[Label], terms: &[Term], but: &[usize]) -> bool {
    output.contains(label) || terms.iter().enumerate().any(|(index, term)| !but.contains(&index) && term.has(label))
}

fn lower_einsum(l: &mut Lowering) -> Result<Vec<Value>> {
    let equation = l.attrs.text("equation")?;
    let shapes: Vec<Shape> = (0..l.inputs.len()).map(|index| l.shape(index)).collect();
    let shapes: Vec<&Shape> = shapes.iter().collect();
    let formula = Formula::new(&equation, &shapes)?;
    let sizes = formula.sizes(&shapes, |a, b| unify(a, b, &mut Vec::new()))?;
    let Formula { operands, output } = &formula;
    let graph = &mut *l.graph;
    let mut terms = Vec::new();
    for (labels, &value) in operands.iter().zip(l.inputs) {
        let term = Term { value, labels: labels.clone() }.narrowed(graph, &sizes)?;
        terms.push(term.diagonals(graph)?);
    }
    for index in 0..terms.len() {
        let term = Term { value: terms[index].value, labels: terms[index].labels.clone() };
        terms[index] = term.summed(graph, |label| is_needed(label, output, &terms, &[index]))?;
    }
    while terms.len() > 1 {
        let (first, second) = next_pair(&terms, output);
        let (y, x) = (terms.remove(second), terms.remove(first));
        let product = multiply(graph, x, y, &|label| is_needed(label, output, &terms, &[]))?;
        terms.insert(first, product);
    }
    let Some(term) = terms.pop() else { return Err(Error::internal("einsum without operands")) };
    Ok(vec![term.ordered(graph, output.clone())?.value])
}

/// The family.
pub static OPS: &[OpDef] = &[OpDef {
    name: "einsum",
    version: 1,
    doc: "Einstein's sum, as NumPy's einsum: products of operands, whose axes an equation names, summed over the names \
        that its output lacks.\n\
        `ij,jk->ik` is a matrix product. A name that stands twice in an operand is its diagonal. `...` stands for the \
        axes without a name, which broadcast. Without `->` the output has the axes of `...` and, in alphabetical \
        order, the names that stand once. Operands are multiplied two at a time, first those whose product has the \
        fewest axes; products in between are rounded to the dtype.",
    dtypes: DTypes::NUMERIC,
    inputs: &[InputDef::of("operands").variadic(1)],
    outputs: &["output"],
    attrs: &[required("equation", AttrType::Text, "The names of the operands' axes and, after `->`, the output's.")],
    regions: &[],
    infer: infer_einsum,
    meaning: Meaning::Lower(lower_einsum),
    vjp: Vjp::Lowered,
    samples: &[
        Sample { inputs: &["T[2, 3]", "T[3, 4]"], attrs: r#"{"equation": "ij,jk->ik"}"# },
        Sample { inputs: &["T[2, 3]", "T[3, 4]"], attrs: r#"{"equation": "ba, ac"}"# },
        Sample { inputs: &["T[2, 3, 4]"], attrs: r#"{"equation": "ijk->ki"}"# },
        Sample { inputs: &["T[3, 2, 3]"], attrs: r#"{"equation": "iji->ij"}"# },
        Sample { inputs: &["T[3, 3]"], attrs: r#"{"equation": "ii"}"# },
        Sample { inputs: &["T[2]", "T[3]"], attrs: r#"{"equation": "i,j->ji"}"# },
        Sample { inputs: &["T[2, 3]", "T[3, 2]"], attrs: r#"{"equation": "ij,ji->i"}"# },
        Sample { inputs: &["T[4, 1, 2, 3]", "T[5, 3, 2]"], attrs: r#"{"equation": "...ij,...jk->...ki"}"# },
        Sample { inputs: &["T[2, 3]", "T[4, 3]", "T[4, 2]"], attrs: r#"{"equation": "ij,kj,kl->il"}"# },
        Sample { inputs: &["T[2, 3]", "T[3]"], attrs: r#"{"equation": "...,..."}"# },
        Sample { inputs: &["T[2, 0]", "T[0, 3]"], attrs: r#"{"equation": "ij,jk"}"# },
        Sample { inputs: &["T[]", "T[2]"], attrs: r#"{"equation": ",i->i"}"# },
    ],
}];

#[cfg(test)]
mod tests {
    use crate::ops::testing::check;

    #[test]
    fn formulas_are_read_and_refused() {
        check(
            "einsum",
            &[
                (r#"{"equation": "bij,bjk"}"#, &["float32[b, n, 3]", "float32[b, 3, m]"], "float32[n, m]"),
                (r#"{"equation": "...ij,...jk->...ik"}"#, &["float32[b, n, k]", "float32[k, m]"], "float32[b, n, m]"),
                (r#"{"equation": "...i,...i->..."}"#, &["float32[1, 2, 3]", "float32[n, 1, 3]"], "float32[n, 2]"),
                (r#"{"equation": "ii->i"}"#, &["float32[n, m]"], "float32[n] where n == m"),
                (r#"{"equation": " i j -> j i "}"#, &["float32[n, m]"], "float32[m, n]"),
                (
                    r#"{"equation": "ij,jk"}"#,
                    &["float32[2, 3]"],
                    "einsum: the equation \"ij,jk\" is for 2 operands, not 1",
                ),
                (
                    r#"{"equation": "ij,jk"}"#,
                    &["float32[2, 3]", "float32[4, 5]"],
                    "einsum: 'j' is 3, but 4 in operand 1, [4, 5]",
                ),
                (
                    r#"{"equation": "...i,...i"}"#,
                    &["float32[2, 3]", "float32[4, 3]"],
                    "einsum: an axis of ... is 2, but 4 in operand 1, [4, 3]",
                ),
                (
                    r#"{"equation": "i"}"#,
                    &["float32[2, 3]"],
                    "einsum: \"i\" does not name the axes of operand 0, [2, 3]",
                ),
                (
                    r#"{"equation": "ijk..."}"#,
                    &["float32[2, 3]"],
                    "einsum: \"ijk...\" does not name the axes of operand 0, [2, 3]",
                ),
                (
                    r#"{"equation": "ij->ijj"}"#,
                    &["float32[2, 3]"],
                    "einsum: 'j' stands twice in the output of the equation \"ij->ijj\"",
                ),
                (
                    r#"{"equation": "ij->ik"}"#,
                    &["float32[2, 3]"],
                    "einsum: 'k' in the output of the equation \"ij->ik\" is in no operand",
                ),
                (
                    r#"{"equation": "...i->i"}"#,
                    &["float32[2, 3]"],
                    "einsum: the output of the equation \"...i->i\" lacks ... , which stands for axes",
                ),
                (
                    r#"{"equation": "...i...->i"}"#,
                    &["float32[2, 3]"],
                    "einsum: \"...i...\" in the equation \"...i...->i\" has ... twice",
                ),
                (
                    r#"{"equation": "i1->i"}"#,
                    &["float32[2, 3]"],
                    "einsum: '1' in the equation \"i1->i\"; it has letters, ... , commas and one ->",
                ),
                (
                    r#"{"equation": "i->i->i"}"#,
                    &["float32[2]"],
                    "einsum: '-' in the equation \"i->i->i\"; it has letters, ... , commas and one ->",
                ),
            ],
        );
    }
}
