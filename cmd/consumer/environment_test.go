package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
)

func TestEnvironment(t *testing.T) {
	t.Parallel()
	const file = "intake: {workers: 4, max_waiting: 100, build_timeout: 2m}\norganizations: {myorg: {push_username: u, push_password_file: p}}\n"
	path := filepath.Join(writeFiles(t, map[string]string{"config.yaml": file, "p": "p"}), "config.yaml")
	workers, timeout := Override{"WORKERS_NUM", "intake.workers", "6"}, Override{"WORKER_TIMEOUT", "intake.build_timeout", "61"}
	for _, c := range []struct {
		vars     map[string]string
		workers  int
		timeout  time.Duration
		env      Environment
		warnings []string
	}{
		{nil, 4, 2 * time.Minute, Environment{}, nil},
		{map[string]string{"WORKERS_NUM": "", "WORKER_TIMEOUT": "", "CA_URL": ""}, 4, 2 * time.Minute, Environment{}, nil},
		{map[string]string{"WORKERS_NUM": "6"}, 6, 2 * time.Minute, Environment{Overrides: []Override{workers}}, nil},
		{map[string]string{"WORKER_TIMEOUT": "61", "WORKERS_NUM": "6"}, 6, 61 * time.Second, Environment{Overrides: []Override{workers, timeout}}, nil},
		{map[string]string{"CA_URL": "http://ca.example.com/ca.crt?format=pem"}, 4, 2 * time.Minute, Environment{CAURL: "http://ca.example.com/ca.crt?format=pem"}, nil},
		{map[string]string{"CA_URL": "HTTPS://ca.example.com"}, 4, 2 * time.Minute, Environment{CAURL: "HTTPS://ca.example.com"}, nil},
		{
			map[string]string{"WORKER_TIMEOUT": "30"}, 4, 30 * time.Second, Environment{Overrides: []Override{{"WORKER_TIMEOUT", "intake.build_timeout", "30"}}},
			[]string{"environment: WORKER_TIMEOUT: is less than quay.timeout, which is 1m: a call that takes so long is cut off"},
		},
	} {
		config, env, err := LoadRunConfig(path, environment(c.vars))
		if err != nil {
			t.Errorf("%v: %v", c.vars, err)
			continue
		}
		if config.Intake.Workers != c.workers || config.Intake.BuildTimeout != c.timeout {
			t.Errorf("%v: %d workers, %v", c.vars, config.Intake.Workers, config.Intake.BuildTimeout)
		}
		if diff := cmp.Diff(c.env, env) + cmp.Diff(c.warnings, config.Warnings); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.vars, diff)
		}
		// Other commands do not ask the environment.
		if plain, err := LoadConfig(path, environment(c.vars)); err != nil || plain.Intake.Workers != 4 || plain.Intake.BuildTimeout != 2*time.Minute {
			t.Errorf("%v: LoadConfig: %+v, %v", c.vars, plain.Intake, err)
		}
	}
}

// A fault names the variable, and never repeats it: it may hold a password.
func TestEnvironmentFaults(t *testing.T) {
	t.Parallel()
	path := filepath.Join(writeFiles(t, map[string]string{"config.yaml": "intake: {workers: 4, max_waiting: 100}\n"}), "config.yaml")
	const number, least, address = "expects a whole number", "expects more than 0s", "expects a URL that begins with http:// or https://"
	for _, c := range []struct{ variable, value, want string }{
		{"WORKERS_NUM", "0", "environment: WORKERS_NUM: expects 1 to 1024"},
		{"WORKERS_NUM", "-1", "environment: WORKERS_NUM: expects 1 to 1024"},
		{"WORKERS_NUM", "1025", "environment: WORKERS_NUM: expects 1 to 1024\n" + path + ":1: intake.max_waiting: expects at least WORKERS_NUM, which is 1025"},
		{"WORKERS_NUM", "101", path + ":1: intake.max_waiting: expects at least WORKERS_NUM, which is 101"},
		{"WORKERS_NUM", "six", "environment: WORKERS_NUM: " + number},
		{"WORKERS_NUM", " 6", "environment: WORKERS_NUM: " + number},
		{"WORKERS_NUM", "06", "environment: WORKERS_NUM: " + number},
		{"WORKERS_NUM", "6.0", "environment: WORKERS_NUM: " + number},
		{"WORKERS_NUM", "99999999999999999999", "environment: WORKERS_NUM: " + number},
		{"WORKER_TIMEOUT", "0", "environment: WORKER_TIMEOUT: " + least},
		{"WORKER_TIMEOUT", "-5", "environment: WORKER_TIMEOUT: " + least},
		{"WORKER_TIMEOUT", "30s", "environment: WORKER_TIMEOUT: " + number},
		{"WORKER_TIMEOUT", "9223372036", "environment: WORKER_TIMEOUT: " + number},
		{"CA_URL", "ca.example.com/ca.crt", "environment: CA_URL: " + address},
		{"CA_URL", "ftp://ca.example.com", "environment: CA_URL: " + address},
		{"CA_URL", "http://", "environment: CA_URL: " + address},
		{"CA_URL", "http://ca.example.com/a b", "environment: CA_URL: " + address},
		{"CA_URL", "http://%zz", "environment: CA_URL: " + address},
		{"CA_URL", "https://user:hunter2@ca.example.com/", "environment: CA_URL: must not hold a user or password"},
	} {
		_, _, err := LoadRunConfig(path, environment(map[string]string{c.variable: c.value}))
		var bad *ConfigError
		if !errors.As(err, &bad) || err.Error() != c.want {
			t.Errorf("%s=%s: %v, want %s", c.variable, c.value, err, c.want)
		}
		var errs lockedBuffer
		if code := run(t.Context(), []string{"run", "-c", path}, environment(map[string]string{c.variable: c.value}), &errs, &errs); code != exitUsage || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s=%s: exit %d: %s", c.variable, c.value, code, errs.String())
		}
	}
	_, _, err := LoadRunConfig(path, environment(map[string]string{"WORKERS_NUM": "x", "WORKER_TIMEOUT": "x", "CA_URL": "x"}))
	if bad := new(ConfigError); !errors.As(err, &bad) || len(bad.Faults) != 3 {
		t.Errorf("all three: %v", err)
	}
}

// The service says at its start what the environment says.
func TestEnvironmentIsLogged(t *testing.T) {
	t.Parallel()
	server := eventstest.Start(t)
	s := &system{t: t, log: &lockedBuffer{}}
	path := filepath.Join(writeFiles(t, map[string]string{
		"config.yaml": "nats: {url: " + server.URL + "}\nops: {listen: \"127.0.0.1:0\"}\n",
	}), "config.yaml")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop := make(chan int, 1)
	go func() {
		stop <- run(ctx, []string{"run", "-c", path}, environment(map[string]string{"WORKERS_NUM": "3", "WORKER_TIMEOUT": "90"}), s.log, s.log)
	}()
	s.awaitLog(`"msg":"started"`, `"workers":3`)
	s.awaitLog(`"variable":"WORKERS_NUM"`, `"key":"intake.workers"`, `"value":"3"`)
	s.awaitLog(`"variable":"WORKER_TIMEOUT"`, `"key":"intake.build_timeout"`, `"value":"90"`)
	cancel()
	if code := <-stop; code != exitDone {
		t.Errorf("exit %d: %s", code, s.log)
	}
	for _, name := range []string{"WORKERS_NUM", "WORKER_TIMEOUT", "CA_URL"} {
		if _, help, _ := command(t, "run", "--help"); !strings.Contains(help, name) {
			t.Errorf("the help does not name %s", name)
		}
		if !strings.Contains(mustRead(t, exampleConfig), name) {
			t.Errorf("the example does not name %s", name)
		}
	}
}
