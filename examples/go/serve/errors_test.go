package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caudal-project/caudal/examples/go/internal/command"
	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

// still serves without a learner, so that feedback stays in the queue.
func still(t *testing.T, arguments ...string) string {
	t.Helper()
	s, err := newService(settings(t, append(arguments, saved(t, classifier(t)))...), quiet)
	check(t, err)
	server := httptest.NewServer(s.handler())
	t.Cleanup(func() {
		server.Close()
		check(t, s.model.session.Close())
	})
	return server.URL
}

func TestBadRequestsGetAStatusACodeAndTheReason(t *testing.T) {
	address := still(t, "--body", "200")
	for _, each := range []struct {
		method, path, body string
		status             int
		code, message      string
	}{
		{"POST", "/predict", `{"pixels": [1, 2, 3]}`, 400, "shape", "pixels: image 0 has 3 numbers, expected 4, which are [2 2 1]"},
		{"POST", "/predict", `{"pixels": [[1, 2, 3, 4], [1]]}`, 400, "shape", "pixels: image 1 has 1 numbers, expected 4, which are [2 2 1]"},
		{"POST", "/predict", `{"pixels": []}`, 400, "argument", "pixels: there is no image"},
		{"POST", "/predict", `{}`, 400, "argument", "pixels: there is no image"},
		{"POST", "/predict", `{"pixels": [1, null, 3, 4]}`, 400, "format", "pixels: null is no number"},
		{"POST", "/predict", `{"pixels": [1e39, 2, 3, 4]}`, 400, "format", "pixels: float32 numbers in a list, or such lists in a list, are needed, not the number 1e39"},
		{"POST", "/predict", `{"pixels": "abcd"}`, 400, "format", "pixels: float32 numbers in a list, or such lists in a list, are needed, not the string"},
		{"POST", "/predict", `{"pixels": [[1, 2, 3, 4], 5]}`, 400, "format", "pixels: float32 numbers in a list, or such lists in a list, are needed, not the number"},
		{"POST", "/predict", `{"images": [1, 2, 3, 4]}`, 400, "format", `the body is not the JSON that is wanted: json: unknown field "images"`},
		{"POST", "/predict", `{"pixels": [1, 2, 3, 4]} {}`, 400, "format", "the body goes on after its JSON"},
		{"POST", "/predict", `{"pixels": [1, 2, 3, 4]`, 400, "format", "the body is not the JSON that is wanted: unexpected EOF"},
		{"POST", "/predict", ``, 400, "format", "the body is not the JSON that is wanted: EOF"},
		{"POST", "/predict", `<html>`, 400, "format", "the body is not the JSON that is wanted: invalid character '<' looking for beginning of value"},
		{"POST", "/predict", `{"pixels": [` + strings.Repeat("1, ", 100) + `1]}`, 413, "memory", "the body has more than 200 bytes"},
		{"POST", "/predict", `{"pixels": [1, 2, 3, 4]}` + strings.Repeat(" ", 200), 413, "memory", "the body has more than 200 bytes"},
		{"POST", "/feedback", `{"pixels": [1, 2, 3], "label": 0}`, 400, "shape", "pixels: image 0 has 3 numbers, expected 4, which are [2 2 1]"},
		{"POST", "/feedback", `{"pixels": [[1, 2, 3, 4], [1, 2, 3, 4]], "label": 0}`, 400, "argument", "pixels: give one image, not 2"},
		{"POST", "/feedback", `{"pixels": [1, 2, 3, 4], "label": 3}`, 400, "argument", "label: 3 is no class; they are 0 to 2"},
		{"POST", "/feedback", `{"pixels": [1, 2, 3, 4], "label": -1}`, 400, "argument", "label: -1 is no class; they are 0 to 2"},
		{"POST", "/feedback", `{"pixels": [1, 2, 3, 4], "label": 0.5}`, 400, "argument", "label: 0.5 is no class; they are 0 to 2"},
		{"POST", "/feedback", `{"pixels": [1, 2, 3, 4], "label": 1e300}`, 400, "argument", "label: 1e+300 is no class; they are 0 to 2"},
		{"POST", "/feedback", `{"pixels": [1, 2, 3, 4], "label": "hat"}`, 400, "argument", `label: there is no class "hat"; there are ["shirt" "shoe" "bag"]`},
		{"POST", "/feedback", `{"pixels": [1, 2, 3, 4]}`, 400, "argument", "label: give the number or the name of a class"},
		{"GET", "/predict", ``, 405, "argument", "the method is POST"},
		{"POST", "/info", ``, 405, "argument", "the method is GET"},
		{"GET", "/", ``, 404, "name", "there is no /"},
		{"GET", "/predict/", ``, 404, "name", "there is no /predict/"},
	} {
		var got failure
		status, _ := ask(t, each.method, address+each.path, each.body, &got)
		if status != each.status || got.Code != each.code || got.Message != each.message {
			t.Errorf("%s %s %s\n\tgives %d %s %s\n\texpected %d %s %s", each.method, each.path, each.body, status, got.Code,
				got.Message, each.status, each.code, each.message)
		}
	}
}

func TestAFullQueueRefusesFeedback(t *testing.T) {
	address := still(t, "--queue", "2")
	for i := range 4 {
		want, text := http.StatusAccepted, fmt.Sprintf(`{"queued":%d}`, i+1)
		if i >= 2 {
			want, text = http.StatusTooManyRequests, `{"error":"the queue of feedback is full; try again","code":"busy"}`
		}
		if status, got := ask(t, "POST", address+"/feedback", bag, nil); status != want || got != text {
			t.Errorf("feedback %d is answered with %d %s", i, status, got)
		}
	}
}

func TestARequestPastItsTimeIs503(t *testing.T) {
	address := still(t, "--timeout", "1ns")
	status, text := ask(t, "POST", address+"/predict", `{"pixels": [1, 2, 3, 4]}`, nil)
	if want := `{"error":"predict: the call took longer than its limit in seconds","code":"deadline"}`; status != 503 || text != want {
		t.Errorf("it is answered with %d %s", status, text)
	}
}

func TestABodyThatDoesNotComeIs408(t *testing.T) {
	_, address, _ := start(t, settings(t, saved(t, classifier(t)), "--timeout", "100ms"))
	connection, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	check(t, err)
	defer connection.Close()
	fmt.Fprintf(connection, "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
	check(t, connection.SetReadDeadline(time.Now().Add(30*time.Second)))
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	check(t, err)
	if response.StatusCode != http.StatusRequestTimeout {
		t.Errorf("it is answered with %s", response.Status)
	}
}

func TestAPageOfAnotherSiteMayNotTeach(t *testing.T) {
	address := still(t)
	request, err := http.NewRequest("POST", address+"/feedback", strings.NewReader(bag))
	check(t, err)
	request.Header.Set("Origin", "https://example.com")
	response, err := client.Do(request)
	check(t, err)
	check(t, response.Body.Close())
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("it is answered with %s", response.Status)
	}
}

func TestAProgramThatDoesNotClassifyIsNotServed(t *testing.T) {
	for _, each := range []struct {
		image, labels, more, message string
		scores                       bool
	}{
		{"float32[batch, 4]", "int32[batch]", "predict", "no function is named 'predict'", true},
		{"float32[batch, 4]", "int32[batch]", "train_step", "no function is named 'train_step'", true},
		{"float32[8, 4]", "int32[8]", "", "float32[8, 4] has a fixed batch", true},
		{"float32[batch, n]", "int32[batch]", "", "float32[batch, n] leaves open how large an item is", true},
		{"float32[batch]", "int32[batch]", "", "float32[batch] is not such as float32[batch, 784]", true},
		{"float32[batch, 4]", "int64[batch]", "", "inputs such as float32[batch, 4] and int32[batch] are needed", true},
		{"float32[batch, 4]", "int32[batch]", "", "an output such as float32[batch, 10] is needed", false},
	} {
		g := caudal.NewGraph()
		x, y := g.Input("x", caudal.MustSpec(each.image)), g.Input("y", caudal.MustSpec(each.labels))
		w := g.State("w", caudal.MustTensor([]float32{0}))
		output := ops.Sum(x)
		if each.scores {
			output = ops.Add(x, w)
		}
		if each.more != "predict" {
			g.Function("predict", caudal.Outputs{"output": output})
		}
		if each.more != "train_step" {
			loss := ops.Mul(ops.Sum(x), ops.Cast(ops.Sum(y), &ops.CastAttrs{DType: caudal.Float32}))
			g.Function("train_step", caudal.Outputs{"loss": loss}).Update(w, loss)
		}
		p, err := g.Program(nil)
		check(t, err)
		_, err = newService(settings(t, saved(t, p)), quiet)
		if err == nil || !strings.Contains(err.Error(), each.message) {
			t.Errorf("the error is %v, expected %s", err, each.message)
		}
	}
}

func TestACommandLineThatMakesNoSenseIsRefused(t *testing.T) {
	for _, line := range []string{"", "a b", "a --batch 0", "a --queue 0", "a --every 0s", "a --timeout -1s", "a --memory 0", "a --log loud"} {
		err := run(context.Background(), strings.Fields(line))
		if _, is := err.(*command.UsageError); !is {
			t.Errorf("%q gives %v", line, err)
		}
	}
}
