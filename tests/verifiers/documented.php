<?php

// Runs the PHP of docs/verifying.md on jobs, one JSON object a line on stdin.
// The folder with the extracted code is the first argument.

declare(strict_types=1);

require $argv[1] . '/webhooks.php';

// A warning would be a crash in many a receiver.
set_error_handler(function (int $severity, string $message): void {
    throw new ErrorException($message, 0, $severity);
});

$checks = [
    'standard' => fn ($j) => verify_standard($j['body'], $j['headers'], $j['secret'], $j['now']),
    'ed25519' =>
        fn ($j) => verify_standard_ed25519($j['body'], $j['headers'], $j['secret'], $j['now']),
    'stripe' => fn ($j) => verify_stripe($j['body'], $j['headers'], $j['secret'], $j['now']),
    'github' => fn ($j) => verify_github($j['body'], $j['headers'], $j['secret']),
    'shopify' => fn ($j) => verify_shopify($j['body'], $j['headers'], $j['secret']),
    'sprusify' => fn ($j) => verify_sprusify($j['body'], $j['headers'], $j['secret']),
    'rebusai_header' => fn ($j) => verify_rebusai_header($j['body'], $j['headers'], $j['secret']),
    'rebusai_body' => fn ($j) => verify_rebusai_body($j['body'], $j['secret']),
    'saasquatch' => fn ($j) => verify_saasquatch($j['body'], $j['headers'], $j['secret']),
    'sparkloop' => fn ($j) => verify_sparkloop($j['headers'], $j['secret']),
];

while (($line = fgets(STDIN)) !== false) {
    $job = json_decode($line, true, 512, JSON_THROW_ON_ERROR);
    try {
        $checks[$job['check']]($job);
        echo "ok\n";
    } catch (BadSignature $error) {
        echo "refused: {$error->getMessage()}\n";
    } catch (Throwable $error) {
        echo "crashed: {$error->getMessage()}\n";
    }
}
