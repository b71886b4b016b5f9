//go:build tools

package main

import _ "github.com/open-policy-agent/opa/cmd"
