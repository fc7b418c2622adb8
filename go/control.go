package caudal

import (
	"strconv"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// A region says how a graph of control flow uses values from around it: they become operands of its node.
type region struct {
	what     string
	repeated bool
	captures *captures
	inputs   int
	captured []uint32
}

// captures are the values that the regions of one node use from outside, in order.
type captures struct{ values []Value }

func newRegion(parent *Graph, what string, repeated bool, captures *captures) *Graph {
	g := NewGraph()
	g.parent, g.region = parent, &region{what: what, repeated: repeated, captures: captures}
	parent.fail(g.err)
	return g
}

// input adds an input for an operand.
func (g *Graph) operand(like Value) Value {
	spec, err := like.Spec()
	g.fail(err)
	g.region.inputs++
	return g.Input("value_"+strconv.Itoa(g.region.inputs-1), spec)
}

// slice adds an input for a slice of an operand.
func (g *Graph) slice(of Value) Value {
	spec, err := of.Spec()
	if err == nil && len(spec.Dims) == 0 {
		err = located(refuse(CodeShape, "scan", "xs", "a scalar has no slices"))
	}
	if err != nil {
		g.fail(err)
		return Value{g, absent}
	}
	g.region.inputs++
	return g.Input("value_"+strconv.Itoa(g.region.inputs-1), Spec{spec.DType, spec.Dims[1:]})
}

// take adds inputs for all captures that the node's regions have so far.
func (r *region) take(g *Graph) {
	for i := len(r.captured); i < len(r.captures.values); i++ {
		spec, err := r.captures.values[i].Spec()
		g.fail(err)
		r.captured = append(r.captured, g.Input("capture_"+strconv.Itoa(i), spec).id)
	}
}

// capture gives the input that stands for a value from outside.
func (r *region) capture(g *Graph, v Value) uint32 {
	if v.graph != g.parent {
		// Of a graph further out: the one around captures it, too.
		v = Value{g.parent, g.parent.region.capture(g.parent, v)}
	}
	at := -1
	for i, each := range r.captures.values {
		if each == v {
			at = i
		}
	}
	if at < 0 {
		at = len(r.captures.values)
		r.captures.values = append(r.captures.values, v)
	}
	r.take(g)
	if g.Err() != nil {
		return absent
	}
	return r.captured[at]
}

func (r *region) draw(g *Graph) Value {
	if r.repeated {
		g.fail(located(refuse(CodeUnsupported, "draw", "",
			"%s would draw the same numbers in each step; carry a key and split it", r.what)))
		return Value{g, absent}
	}
	key := g.parent.Draw()
	if g.Err() != nil {
		return Value{g, absent}
	}
	return Value{g, r.capture(g, key)}
}

// finish makes the region of what its function gave.
func (g *Graph) finish(results []Value) {
	outputs := make([]string, len(results))
	for i := range results {
		outputs[i] = "output_" + strconv.Itoa(i)
	}
	g.demand("", "", "a result of "+g.region.what, results...)
	ids, ok := g.lift(results)
	if !ok {
		return
	}
	g.do(func(f *frame, graph uint64) error {
		name, n := f.string("region")
		return f.call(engine.GraphFunction, graph, name, n, f.names(outputs), f.numbers(ids), uint64(len(ids)), 0, 0, f.slot())
	})
}

// control applies an op with regions, which all take the operands and then the captures of them all.
func control(g *Graph, op string, attrs Attrs, regions []*Graph, operands []Value, captures *captures) []Value {
	for _, each := range regions {
		each.region.take(each)
	}
	return apply(g, op, attrs, regions, append(append([]Value(nil), operands...), captures.values...))
}

// Cond gives what one of two functions gives: then if the predicate, a bool scalar, is true, else otherwise. Each is
// called once, to build its graph, which it is given; they may use values from around them, and give values of the same
// dtypes and shapes.
//
// Errors, which the graph keeps: ErrShape if the functions give values of different specs.
func Cond(predicate Value, then, otherwise func(g *Graph) []Value) []Value {
	g := predicate.graph
	if g == nil {
		return nil
	}
	used := &captures{}
	outputs := 0
	var regions []*Graph
	for i, build := range []func(*Graph) []Value{then, otherwise} {
		r := newRegion(g, []string{"the function 'then' of cond", "the function 'otherwise' of cond"}[i], false, used)
		// The inputs come first; those that it does not use are there all the same.
		r.region.take(r)
		results := build(r)
		r.finish(results)
		outputs, regions = len(results), append(regions, r)
	}
	if g.Err() != nil {
		return absentValues(g, outputs)
	}
	return control(g, "cond", Attrs{}, regions, []Value{predicate}, used)
}

// LoopOptions say more of a loop.
type LoopOptions struct {
	// MaxSteps is the most steps that it makes. A loop has a gradient only if it is given; that keeps the values of so
	// many steps. 0 is no limit.
	MaxSteps int
}

// While changes values by a function as long as a condition holds. Both functions are called once, to build their
// graphs; they get the values and may use others from around them. The condition is a bool scalar; body gives as many
// values as it gets, of the same dtypes and shapes.
//
// Errors, which the graph keeps: ErrShape if a step changes the dtype or shape of a value, ErrArgument if it changes
// their number, or the condition is no bool scalar.
func While(
	init []Value, condition func(g *Graph, values []Value) Value, body func(g *Graph, values []Value) []Value,
	options ...LoopOptions,
) []Value {
	g := graphOf(init)
	if g == nil {
		return absentValues(nil, len(init))
	}
	g.demand("while_loop", "init", "a value of init", init...)
	used := &captures{}
	test := newRegion(g, "the function 'cond' of while_loop", true, used)
	step := newRegion(g, "the function 'body' of while_loop", true, used)
	if g.Err() != nil {
		return absentValues(g, len(init))
	}
	test.finish([]Value{condition(test, test.operands(init))})
	after := body(step, step.operands(init))
	if !g.same("while_loop", init, after) {
		return absentValues(g, len(init))
	}
	step.finish(after)
	attrs := Attrs{"carried": len(init)}
	for _, each := range options {
		if each.MaxSteps != 0 {
			attrs["max_steps"] = each.MaxSteps
		}
	}
	return control(g, "while_loop", attrs, []*Graph{test, step}, init, used)
}

// ScanOptions say more of a scan.
type ScanOptions struct {
	// Length is how many steps it makes; it may be left out where there are slices.
	Length *Dim
	// Reverse goes from the last slice to the first.
	Reverse bool
}

// Scan runs a function over slices, with values carried from each step to the next. The function is called once, to
// build its graph; it gets the carried values and a slice of each of xs along their first axes, which are equally long,
// and gives the next carried values, of the same dtypes and shapes, and outputs. Scan gives the last carried values, and
// the outputs stacked along a new first axis, in the order of the slices.
//
// Errors, which the graph keeps: ErrShape if a step changes the dtype or shape of a carried value, or the slices differ
// in number; ErrArgument if a step changes the number of the values, or there are neither slices nor a length.
func Scan(
	init, xs []Value, body func(g *Graph, carried, slices []Value) (after, outputs []Value), options ...ScanOptions,
) (last, outputs []Value) {
	g := graphOf(append(append([]Value(nil), init...), xs...))
	if g == nil {
		return absentValues(nil, len(init)), nil
	}
	g.demand("scan", "init", "a value of init", init...)
	g.demand("scan", "xs", "a value of xs", xs...)
	attrs := Attrs{"carried": len(init), "sliced": len(xs)}
	for _, each := range options {
		if each.Length != nil {
			attrs["length"] = *each.Length
		}
		attrs["reverse"] = each.Reverse
	}
	used := &captures{}
	step := newRegion(g, "the function of scan", true, used)
	carried := step.operands(init)
	var slices []Value
	for _, x := range xs {
		slices = append(slices, step.slice(x))
	}
	if attrs["length"] == nil && g.Err() == nil {
		attrs["length"] = g.scanLength(xs)
	}
	if g.Err() != nil {
		return absentValues(g, len(init)), nil
	}
	after, outputs := body(step, carried, slices)
	if !g.same("scan", init, after) {
		return absentValues(g, len(init)), nil
	}
	step.finish(append(append([]Value(nil), after...), outputs...))
	results := control(g, "scan", attrs, []*Graph{step}, append(append([]Value(nil), init...), xs...), used)
	if g.Err() != nil {
		return absentValues(g, len(init)), absentValues(g, len(outputs))
	}
	return results[:len(init)], results[len(init):]
}

// scanLength gives how many slices there are.
func (g *Graph) scanLength(xs []Value) any {
	if len(xs) == 0 {
		g.fail(located(refuse(CodeArgument, "scan", "length", "give slices or a length")))
		return nil
	}
	spec, err := xs[0].Spec()
	g.fail(err)
	if err != nil {
		return nil
	}
	return spec.Dims[0]
}

// operands adds an input for each value.
func (g *Graph) operands(values []Value) []Value {
	inputs := make([]Value, len(values))
	for i, v := range values {
		inputs[i] = g.operand(v)
	}
	return inputs
}

// same tells whether carried values are as before a step; if not the graph fails.
func (g *Graph) same(op string, before, after []Value) bool {
	if g.Err() != nil {
		return false
	}
	if len(before) != len(after) {
		g.fail(located(refuse(CodeArgument, op, "", "the carried values are %d before a step and %d after it",
			len(before), len(after))))
		return false
	}
	g.demand(op, "", "a carried value after a step", after...)
	if g.Err() != nil {
		return false
	}
	for i := range before {
		old, err := before[i].Spec()
		g.fail(err)
		new, err := after[i].Spec()
		g.fail(err)
		if g.Err() == nil && old.String() != new.String() {
			g.fail(located(refuse(CodeShape, op, "", "the carried value is %s before a step and %s after it", old, new)))
		}
	}
	return g.Err() == nil
}

// graphOf gives the innermost graph of values; nil if they have none.
func graphOf(values []Value) *Graph {
	var g *Graph
	for _, v := range values {
		if v.graph != nil && (g == nil || v.graph.within(g)) {
			g = v.graph
		}
	}
	return g
}

func absentValues(g *Graph, n int) []Value {
	values := make([]Value, n)
	for i := range values {
		values[i] = Value{g, absent}
	}
	return values
}
