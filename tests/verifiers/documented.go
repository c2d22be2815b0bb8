// Runs the Go of docs/verifying.md on jobs, one JSON object a line on stdin.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"verifiers/webhooks"
)

type job struct {
	Check   string
	Secret  string
	Headers map[string]string
	Body    string
	Now     int64
}

func check(j job) error {
	headers := http.Header{}
	for name, value := range j.Headers {
		headers.Set(name, value)
	}
	body, now := []byte(j.Body), time.Unix(j.Now, 0)
	switch j.Check {
	case "standard":
		return webhooks.VerifyStandard(body, headers, j.Secret, now)
	case "ed25519":
		return webhooks.VerifyStandardEd25519(body, headers, j.Secret, now)
	case "stripe":
		return webhooks.VerifyStripe(body, headers, j.Secret, now)
	case "github":
		return webhooks.VerifyGithub(body, headers, j.Secret)
	case "shopify":
		return webhooks.VerifyShopify(body, headers, j.Secret)
	case "sprusify":
		return webhooks.VerifySprusify(body, headers, j.Secret)
	case "rebusai_header":
		return webhooks.VerifyRebusaiHeader(body, headers, j.Secret)
	case "rebusai_body":
		return webhooks.VerifyRebusaiBody(body, j.Secret)
	case "saasquatch":
		return webhooks.VerifySaasquatch(body, headers, j.Secret)
	case "sparkloop":
		return webhooks.VerifySparkloop(headers, j.Secret)
	}
	panic("no such check: " + j.Check)
}

// answer never panics: a panic of the code under test is a finding.
func answer(j job) (line string) {
	defer func() {
		if reason := recover(); reason != nil {
			line = fmt.Sprintf("crashed: %v", reason)
		}
	}()
	if err := check(j); err != nil {
		return fmt.Sprintf("refused: %v", err)
	}
	return "ok"
}

func main() {
	input, output := json.NewDecoder(bufio.NewReader(os.Stdin)), bufio.NewWriter(os.Stdout)
	defer output.Flush()
	for {
		var j job
		if err := input.Decode(&j); err == io.EOF {
			return
		} else if err != nil {
			panic(err)
		}
		fmt.Fprintln(output, answer(j))
	}
}
