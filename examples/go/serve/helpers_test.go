package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

// labels are the classes of the program that the tests serve, which takes images of 2 x 2.
var labels = []string{"shirt", "shoe", "bag"}

// classifier builds that program: a linear one, which gives all classes alike until it has learned.
func classifier(t *testing.T) *caudal.Program {
	t.Helper()
	g := caudal.NewGraph()
	x := g.Input("x", caudal.MustSpec("float32[batch, 2, 2, 1]"))
	y := g.Input("y", caudal.MustSpec("int32[batch]"))
	w := g.State("kernel", caudal.MustTensor(make([]float32, 12), 4, 3))
	b := g.State("bias", caudal.MustTensor(make([]float32, 3), 3))
	logits := ops.Add(ops.MatMul(ops.Reshape(x, &ops.ReshapeAttrs{Shape: caudal.Dims(-1, 4)}), w), b)
	loss := ops.Mean(ops.SoftmaxCrossEntropy(logits, y))
	g.Function("predict", caudal.Outputs{"output": ops.Softmax(logits)})
	g.Function("train_step", caudal.Outputs{"loss": loss}).
		Minimize(loss, []caudal.Value{w, b}, caudal.Adam{LearningRate: 0.05})
	p, err := g.Program(map[string]any{"labels": labels})
	check(t, err)
	return p
}

// saved saves a program in a folder of the test; gives the file.
func saved(t *testing.T, p *caudal.Program) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.caudal")
	check(t, p.SaveFile(file))
	return file
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settings gives the options of a command line, with a log that nobody reads.
func settings(t *testing.T, arguments ...string) *options {
	t.Helper()
	o, err := parse(arguments)
	check(t, err)
	return o
}

var quiet = slog.New(slog.DiscardHandler)

// start serves until the function that it gives is called, which gives what run returned.
func start(t *testing.T, o *options) (s *service, address string, stop func() error) {
	t.Helper()
	s, err := newService(o, quiet)
	check(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx, listener) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s, "http://" + listener.Addr().String(), stop
}

// client makes a connection for each request, so that a server has accepted all connections before one it answers.
var client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ask makes a request; gives the status and the JSON of the answer, decoded into a value if it is not nil.
func ask(t *testing.T, method, url, body string, into any) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	response, err := client.Do(request)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s is %s", url, got)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			t.Errorf("%s: %s: %v", url, text, err)
		}
	}
	return response.StatusCode, string(bytes.TrimSpace(text))
}

type predicted struct {
	Predictions []prediction
}

// waitFor asks for /info until something holds.
func waitFor(t *testing.T, address string, holds func(about) bool) about {
	t.Helper()
	for range 3000 {
		var now about
		if status, text := ask(t, "GET", address+"/info", "", &now); status != http.StatusOK {
			t.Fatalf("/info: %d %s", status, text)
		}
		if holds(now) {
			return now
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it did not come about in 30 s")
	return about{}
}
