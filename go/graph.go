package caudal

import (
	"encoding/json"
	"runtime"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// A Graph is what a program is built of: inputs, state, ops, functions. Its methods and the functions of package ops
// give no errors; the first one is kept, with the line of the caller, and [Graph.Program] returns it. A graph is used
// from one goroutine at a time.
type Graph struct {
	handle *handle
	err    error
	// parent is the graph around that of control flow; nil for others.
	parent *Graph
	region *region
	// constants by their tensors, so that each is there once.
	constants map[*Tensor]Value
	file      string
	line      int
}

// A Value is the output of a node of a graph: what stands for a tensor until a function is called. The zero Value is
// none, and leaves out an optional input.
type Value struct {
	graph *Graph
	id    uint32
}

// absent is the id of an optional input that was left out.
const absent = 0xFFFFFFFF

// NewGraph makes an empty graph.
func NewGraph() *Graph {
	g := &Graph{}
	s, err := processSpace()
	if err != nil {
		g.err = err
		return g
	}
	f, err := s.enter()
	if err != nil {
		g.err = err
		return g
	}
	defer f.leave()
	at, err := f.out(engine.GraphNew)
	if err != nil {
		g.err = err
		return g
	}
	g.handle = s.own(at, engine.GraphFree)
	return g
}

// fail keeps the first error, in the outermost graph.
func (g *Graph) fail(err error) {
	if err == nil {
		return
	}
	root := g.root()
	if root.err == nil {
		root.err = err
	}
}

func (g *Graph) root() *Graph {
	for g.parent != nil {
		g = g.parent
	}
	return g
}

// Err gives the first error, nil if there was none yet.
func (g *Graph) Err() error { return g.root().err }

// do calls what changes the graph, unless there was an error; whether it went well. Nodes made get the user's line.
func (g *Graph) do(change func(f *frame, graph uint64) error) bool {
	if g.Err() != nil {
		return false
	}
	f, err := g.handle.space.enter()
	if err != nil {
		g.fail(err)
		return false
	}
	defer runtime.KeepAlive(g.handle)
	defer f.leave()
	err = g.locate(f)
	if err == nil {
		err = change(f, uint64(g.handle.at))
	}
	g.fail(err)
	return err == nil
}

// locate gives the nodes that follow the user's line.
func (g *Graph) locate(f *frame) error {
	file, line := userLine()
	if file == g.file && line == g.line {
		return nil
	}
	g.file, g.line = file, line
	text, n := f.string(file)
	return f.call(engine.GraphLocation, uint64(g.handle.at), text, n, uint64(line))
}

// value calls what gives one value.
func (g *Graph) value(make func(f *frame, graph, slot uint64) error) Value {
	v := Value{g, absent}
	g.do(func(f *frame, graph uint64) error {
		slot := f.slot()
		err := make(f, graph, slot)
		if err == nil {
			v.id = f.load32(slot)
		}
		return err
	})
	return v
}

// Input adds an input, which all functions of the graph share.
//
// Errors: ErrArgument for a malformed name, or one that is taken.
func (g *Graph) Input(name string, spec Spec) Value {
	return g.value(func(f *frame, graph, slot uint64) error {
		at, n := f.string(name)
		text, m := f.string(spec.String())
		return f.call(engine.GraphInput, graph, at, n, text, m, slot)
	})
}

// State adds state with its first value; gives its value when a function begins. Its role is [Parameter], unless one is
// given.
//
// Errors: ErrArgument for a malformed name, one that is taken, or a role that there is not.
func (g *Graph) State(name string, initial *Tensor, role ...Role) Value {
	return g.value(func(f *frame, graph, slot uint64) error {
		number, err := roleNumber(role)
		if err == nil && initial == nil {
			err = refuse(CodeArgument, "state", "initial", "the tensor is nil")
		}
		if err != nil {
			return located(err)
		}
		tensor, err := f.tensor(initial)
		if err != nil {
			return err
		}
		defer f.free(engine.TensorFree, tensor)
		at, n := f.string(name)
		return f.call(engine.GraphState, graph, at, n, number, uint64(tensor), slot)
	})
}

func roleNumber(role []Role) (uint64, error) {
	if len(role) == 0 {
		return 1, nil
	}
	for i, known := range []Role{Parameter, OptimizerState, Statistic, RandomState, OtherState} {
		if role[0] == known {
			return uint64(i + 1), nil
		}
	}
	return 0, refuse(CodeArgument, "state", "role",
		"there is no role %s; there are parameter, optimizer, statistic, random, other", quote(string(role[0])))
}

// Constant adds a constant; the same tensor is there once.
func (g *Graph) Constant(t *Tensor) Value {
	if found, there := g.constants[t]; there {
		return found
	}
	v := g.value(func(f *frame, graph, slot uint64) error {
		if t == nil {
			return located(refuse(CodeArgument, "constant", "value", "the tensor is nil"))
		}
		at, err := f.tensor(t)
		if err != nil {
			return err
		}
		defer f.free(engine.TensorFree, at)
		return f.call(engine.GraphConstant, graph, uint64(at), slot)
	})
	if v.id != absent {
		if g.constants == nil {
			g.constants = map[*Tensor]Value{}
		}
		g.constants[t] = v
	}
	return v
}

// Draw gives a fresh random key, uint32[2], from the program's generator, which is the state random/key. In each call of
// a function it is another.
//
// Errors: ErrUnsupported in a loop, whose steps would all get the same.
func (g *Graph) Draw() Value {
	if g.parent != nil {
		return g.region.draw(g)
	}
	return g.value(func(f *frame, graph, slot uint64) error { return f.call(engine.GraphDraw, graph, slot) })
}

// Grad gives the gradients of a scalar by values.
//
// Errors: ErrShape if the loss is not a scalar, ErrDType if the loss or a value is not floating-point.
func (g *Graph) Grad(loss Value, wrt ...Value) []Value {
	grads := make([]Value, len(wrt))
	for i := range grads {
		grads[i] = Value{g, absent}
	}
	g.demand("grad", "loss", "the loss", loss)
	g.demand("grad", "wrt", "a value of wrt", wrt...)
	ids, ok := g.lift(append([]Value{loss}, wrt...))
	if !ok {
		return grads
	}
	g.do(func(f *frame, graph uint64) error {
		numbers := f.numbers(make([]uint32, len(wrt)))
		err := f.call(engine.GraphGrad, graph, uint64(ids[0]), f.numbers(ids[1:]), uint64(len(wrt)), numbers)
		if err == nil {
			for i := range grads {
				grads[i].id = f.load32(numbers + uint64(4*i))
			}
		}
		return err
	})
	return grads
}

// Outputs are a function's outputs by name.
type Outputs map[string]Value

// FunctionOptions say more of a function.
type FunctionOptions struct {
	// Doc is its documentation.
	Doc string
	// Inputs are the names of its inputs in order; left out, those that it needs, in the order in which they were made.
	Inputs []string
}

// A GraphFunction is a function of a graph that is being built.
type GraphFunction struct {
	graph  *Graph
	number uint32
}

// Function makes a function of some values. Its outputs stand in the order of their names.
//
// Errors: ErrArgument for a malformed name, one that is taken, or an input that nobody made.
func (g *Graph) Function(name string, outputs Outputs, options ...FunctionOptions) *GraphFunction {
	function := &GraphFunction{g, absent}
	notes := map[string]any{}
	for _, each := range options {
		notes["doc"] = each.Doc
		if each.Inputs != nil {
			notes["inputs"] = each.Inputs
		}
	}
	names := sortedNames(outputs)
	values := make([]Value, len(names))
	for i, each := range names {
		values[i] = outputs[each]
		g.demand(name, each, "the output "+quote(each), values[i])
	}
	ids, ok := g.lift(values)
	if !ok {
		return function
	}
	g.do(func(f *frame, graph uint64) error {
		text, err := json.Marshal(notes)
		if err != nil {
			return err
		}
		at, n := f.string(name)
		notesAt, m := f.string(string(text))
		slot := f.slot()
		err = f.call(engine.GraphFunction, graph, at, n, f.names(names), f.numbers(ids), uint64(len(ids)), notesAt, m, slot)
		if err == nil {
			function.number = f.load32(slot)
		}
		return err
	})
	return function
}

// Update makes the function write a new value to state when it has run.
//
// Errors: ErrArgument if it is not state of the graph, ErrDType and ErrShape for a value that does not fit.
func (f *GraphFunction) Update(state, value Value) {
	f.graph.demand("update", "state", "the state", state)
	f.graph.demand("update", "value", "the value", value)
	ids, ok := f.graph.lift([]Value{state, value})
	if !ok {
		return
	}
	f.graph.do(func(frame *frame, graph uint64) error {
		return frame.call(engine.GraphUpdate, graph, uint64(f.number), frame.numbers(ids[:1]), frame.numbers(ids[1:]), 1)
	})
}

// Minimize makes the function train: each call moves the parameters against the gradient of a scalar. The optimizer's
// state is made with the graph; a program then has the functions gradients and apply, too.
//
// Errors: ErrShape if the loss is not a scalar, ErrArgument for a parameter that is not state of the graph or a setting
// of the optimizer out of range.
func (f *GraphFunction) Minimize(loss Value, parameters []Value, optimizer Optimizer) {
	g := f.graph
	g.demand("minimize", "loss", "the loss", loss)
	g.demand("minimize", "parameters", "a parameter", parameters...)
	if optimizer == nil {
		g.fail(located(refuse(CodeArgument, "minimize", "optimizer", "the optimizer is nil")))
		return
	}
	grads, ok := g.lift(g.Grad(loss, parameters...))
	if !ok {
		return
	}
	ids, ok := g.lift(parameters)
	if !ok {
		return
	}
	o := optimizer.settings()
	g.do(func(frame *frame, graph uint64) error {
		if o.attrs["nesterov"] == true && o.attrs["momentum"] == 0.0 {
			return located(refuse(CodeArgument, "SGD", "nesterov", "nesterov needs a momentum above 0"))
		}
		name, n := frame.string(o.name)
		if o.schedule != nil {
			op, attrs := o.schedule.schedule()
			schedule, err := frame.op(op, attrs)
			if err != nil {
				return err
			}
			err = frame.call(engine.GraphSchedule, graph, name, n, uint64(schedule.at))
			runtime.KeepAlive(schedule)
			if err != nil {
				return err
			}
		}
		op, err := frame.op(o.op, o.attrs)
		if err != nil {
			return err
		}
		defer runtime.KeepAlive(op)
		rate, err := frame.tensor(MustTensor([]float32{float32(o.rate)}))
		if err != nil {
			return err
		}
		defer frame.free(engine.TensorFree, rate)
		return frame.call(engine.GraphOptimize, graph, uint64(f.number), name, n, uint64(op.at), uint64(rate),
			frame.numbers(grads), frame.numbers(ids), uint64(len(ids)))
	})
}

// Program gives the program of the graph's functions, and the state that they use; or the first error that there was in
// building it. Metadata (labels, licence, how to prepare inputs) is anything that has a JSON form, up to 1 MiB; nil is
// none.
func (g *Graph) Program(metadata any) (*Program, error) {
	if err := g.Err(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(metadata)
	if err != nil {
		return nil, refuse(CodeArgument, "", "metadata", "metadata has no JSON form: %s", err)
	}
	f, err := g.handle.space.enter()
	if err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(g.handle)
	defer f.leave()
	at, n := f.string(string(text))
	program, err := f.out(engine.ProgramNew, f.words(1, []uint64{uint64(g.handle.at)}), 1, at, n)
	if err != nil {
		return nil, err
	}
	return f.space.program(f, program, nil, true)
}

// Text gives the graph as text.
func (g *Graph) Text() (string, error) {
	if err := g.Err(); err != nil {
		return "", err
	}
	f, err := g.handle.space.enter()
	if err != nil {
		return "", err
	}
	defer runtime.KeepAlive(g.handle)
	defer f.leave()
	text, err := f.bytes(engine.GraphText, uint64(g.handle.at))
	return string(text), err
}
