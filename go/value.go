package caudal

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// Apply applies an op to values; gives its outputs. Package ops has a function for each op. Attrs are as for [Eager]; g
// may be nil where there are inputs, whose graph it then is.
//
// Errors, which the graph keeps: ErrName if there is no such op, ErrArgument for an attr, and what the op refuses.
func Apply(g *Graph, op string, attrs any, inputs ...Value) []Value {
	return apply(g, op, attrs, nil, inputs)
}

func apply(g *Graph, name string, attrs any, regions []*Graph, inputs []Value) []Value {
	for _, input := range inputs {
		if input.graph != nil && (g == nil || input.graph.within(g)) {
			g = input.graph
		}
	}
	none := []Value{{graph: g, id: absent}}
	if g == nil {
		return none
	}
	ids, ok := g.lift(inputs)
	if !ok {
		return none
	}
	var outputs []Value
	done := g.do(func(f *frame, graph uint64) error {
		op, err := f.op(name, attrs)
		if err != nil {
			return located(err)
		}
		defer runtime.KeepAlive(op)
		graphs := make([]uint64, len(regions))
		for i, region := range regions {
			graphs[i] = uint64(region.handle.at)
		}
		defer runtime.KeepAlive(regions)
		first, count := f.slot(), f.slot()
		err = f.call(engine.GraphApply, graph, uint64(op.at), f.words(len(graphs), graphs), uint64(len(graphs)),
			f.numbers(ids), uint64(len(ids)), first, count)
		if err != nil {
			return err
		}
		start := f.load32(first)
		for i := range uint32(f.load(count)) {
			outputs = append(outputs, Value{g, start + i})
		}
		return nil
	})
	if !done {
		return none
	}
	return outputs
}

// within tells whether g is other or inside of it.
func (g *Graph) within(other *Graph) bool {
	for ; g != nil; g = g.parent {
		if g == other {
			return true
		}
	}
	return false
}

// demand fails the graph where a value that cannot be left out is the zero Value; what says which it is.
func (g *Graph) demand(op, argument, what string, values ...Value) {
	for _, v := range values {
		if v.graph == nil {
			g.fail(zeroValue(op, argument, what))
		}
	}
}

func zeroValue(op, argument, what string) error {
	return located(refuse(CodeArgument, op, argument, "%s is the zero Value, which is of no graph", what))
}

// lift gives the ids of values in this graph; values of graphs around it become inputs of its region. Whether all are
// values.
func (g *Graph) lift(values []Value) ([]uint32, bool) {
	ids := make([]uint32, len(values))
	for i, v := range values {
		switch {
		case v.graph == nil:
			ids[i] = absent
		case v.graph.Err() != nil || g.Err() != nil:
			g.fail(v.graph.Err())
			return nil, false
		case v.graph == g:
			ids[i] = v.id
		case g.within(v.graph):
			ids[i] = g.region.capture(g, v)
		default:
			g.fail(located(refuse(CodeArgument, "", "", "a value of another graph is used in the graph")))
			return nil, false
		}
	}
	return ids, g.Err() == nil
}

// Graph gives the graph that the value belongs to, nil for the zero Value.
func (v Value) Graph() *Graph { return v.graph }

// Spec gives the dtype and dims of the value.
//
// Errors: the first error of the graph; ErrArgument for the zero Value.
func (v Value) Spec() (Spec, error) {
	if v.graph == nil {
		return Spec{}, zeroValue("Spec", "v", "the value")
	}
	if err := v.graph.Err(); err != nil {
		return Spec{}, err
	}
	f, err := v.graph.handle.space.enter()
	if err != nil {
		return Spec{}, err
	}
	defer runtime.KeepAlive(v.graph.handle)
	defer f.leave()
	at, err := f.out(engine.GraphSpec, uint64(v.graph.handle.at), uint64(v.id))
	if err != nil {
		return Spec{}, err
	}
	return ParseSpec(f.text(f.load(uint64(at) + uint64(2*f.word))))
}

// Like gives a number as a scalar constant of the value's dtype: ops.Mul(x, x.Like(0.5)).
//
// Errors, which the graph keeps: ErrDType if the dtype is bool.
func (v Value) Like(number float64) Value {
	spec, err := v.Spec()
	if v.graph == nil {
		return v
	}
	if err == nil && spec.DType == Bool {
		err = located(refuse(CodeDType, "Like", "number", "%g is a number, which bool does not hold", number))
	}
	if err != nil {
		v.graph.fail(err)
		return Value{v.graph, absent}
	}
	wide := v.graph.Constant(MustTensor([]float64{number}))
	return Apply(v.graph, "cast", Attrs{"dtype": spec.DType}, wide)[0]
}

// located adds the user's line to an error that has none.
func located(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.File != "" {
		return err
	}
	file, line := userLine()
	if file == "" {
		return err
	}
	with := *e
	with.File, with.Line = file, line
	with.Message += " (" + file + ":" + strconv.Itoa(line) + ")"
	return &with
}

// module is how the names of this module's functions begin; its tests are in packages of their own.
const module = "github.com/caudal-project/caudal/go"

// userLine gives the line of the innermost caller outside of this module, with the file relative to the working folder
// where it is below that, else without its folder.
func userLine() (string, int) {
	var callers [32]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	for {
		frame, more := frames.Next()
		name := frame.Function
		own := strings.HasPrefix(name, module+".") || strings.HasPrefix(name, module+"/ops.")
		if !own && frame.File != "" {
			return relative(frame.File), frame.Line
		}
		if !more {
			return "", 0
		}
	}
}

func relative(file string) string {
	if folder, err := os.Getwd(); err == nil {
		if below, found := strings.CutPrefix(file, folder+string(filepath.Separator)); found {
			return filepath.ToSlash(below)
		}
	}
	if filepath.IsAbs(file) {
		return filepath.Base(file)
	}
	return file
}
