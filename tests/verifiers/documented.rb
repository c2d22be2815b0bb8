# Runs the Ruby of docs/verifying.md on jobs, one JSON object a line on stdin.
# The folder with the extracted code is the first argument.
require "json"
require File.join(ARGV.fetch(0), "webhooks")

CHECKS = {
  "standard" => ->(j) { verify_standard(j["body"], j["headers"], j["secret"], j["now"]) },
  "ed25519" => ->(j) { verify_standard_ed25519(j["body"], j["headers"], j["secret"], j["now"]) },
  "stripe" => ->(j) { verify_stripe(j["body"], j["headers"], j["secret"], j["now"]) },
  "github" => ->(j) { verify_github(j["body"], j["headers"], j["secret"]) },
  "shopify" => ->(j) { verify_shopify(j["body"], j["headers"], j["secret"]) },
  "sprusify" => ->(j) { verify_sprusify(j["body"], j["headers"], j["secret"]) },
  "rebusai_header" => ->(j) { verify_rebusai_header(j["body"], j["headers"], j["secret"]) },
  "rebusai_body" => ->(j) { verify_rebusai_body(j["body"], j["secret"]) },
  "saasquatch" => ->(j) { verify_saasquatch(j["body"], j["headers"], j["secret"]) },
  "sparkloop" => ->(j) { verify_sparkloop(j["headers"], j["secret"]) },
}.freeze

STDIN.set_encoding(Encoding::UTF_8)
STDIN.each_line do |line|
  job = JSON.parse(line)
  # As a server hands it over: bytes, of no encoding.
  job["body"] = job["body"].b
  CHECKS.fetch(job["check"]).call(job)
  puts "ok"
rescue BadSignature => e
  puts "refused: #{e.message}"
rescue StandardError => e
  puts "crashed: #{e.class}: #{e.message}"
end
