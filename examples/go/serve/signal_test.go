//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"

	caudal "github.com/caudal-project/caudal/go"
)

// asCommand names the variable that makes this test program the command, with those arguments.
const asCommand = "SERVE_ARGUMENTS"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(asCommand); arguments != "" {
		os.Args = append(os.Args[:1], strings.Fields(arguments)...)
		main()
		return
	}
	os.Exit(m.Run())
}

func TestSIGTERMStopsTheProcessWhichSaves(t *testing.T) {
	file := saved(t, classifier(t))
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), asCommand+"="+file+" --address 127.0.0.1:0 --every 1h --wait 0s --log debug")
	stderr, err := process.StderrPipe()
	check(t, err)
	check(t, process.Start())
	defer func() { _ = process.Process.Kill() }()
	lines := bufio.NewScanner(stderr)
	address := "http://" + next(t, lines, "serving")["address"].(string)
	for range 20 {
		if status, text := ask(t, "POST", address+"/feedback", bag, nil); status != http.StatusAccepted {
			t.Fatalf("/feedback: %d %s", status, text)
		}
	}
	now := waitFor(t, address, func(now about) bool { return now.Learned.Examples == 20 })
	var served predicted
	ask(t, "POST", address+"/predict", `{"pixels": [1, 0, 0, 0.5]}`, &served)
	check(t, process.Process.Signal(syscall.SIGTERM))
	if steps := next(t, lines, "saved")["steps"]; steps != float64(now.Learned.Steps) {
		t.Errorf("it saved %v steps of %d", steps, now.Learned.Steps)
	}
	next(t, lines, "stopped")
	if err := process.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	session, err := caudal.Load(file, nil)
	check(t, err)
	defer session.Close()
	m, err := newModel(session)
	check(t, err)
	again, err := m.predict(t.Context(), pixels{{1, 0, 0, 0.5}})
	check(t, err)
	if !reflect.DeepEqual(again, served.Predictions) {
		t.Errorf("the file predicts %v, the service %v", again, served.Predictions)
	}
}

// next gives the next line of a log that has that message.
func next(t *testing.T, lines *bufio.Scanner, message string) map[string]any {
	t.Helper()
	var seen []string
	for lines.Scan() {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if line["msg"] == message {
			return line
		}
		seen = append(seen, lines.Text())
	}
	t.Fatal(fmt.Sprintf("there is no %q in the log:\n", message) + strings.Join(seen, "\n"))
	return nil
}
