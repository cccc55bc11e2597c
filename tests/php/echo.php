<?php
// Says how PHP reads a request: the key, the fields that Sidekey acts on, and all others, in a form that can be compared.
$type = strtolower(preg_split('/[;, ]/', $_SERVER['CONTENT_TYPE'] ?? '')[0]);
$json = null;
if ($type !== 'multipart/form-data' || strpos($_SERVER['CONTENT_TYPE'], 'oundary') === false) {
    $body = ltrim(file_get_contents('php://input'), " \t\r\n");
    $json = str_starts_with($body, '{') ? json_decode($body, true, 512, JSON_BIGINT_AS_STRING) : null;
}
if (is_array($json)) {
    $_POST = []; // JSON under a form's type is one nameless field.
}
$all = (is_array($json) ? $json : []) + $_REQUEST;
$keys = [];
$own = 0; // Fields that must not reach a vendor.
foreach ([$_GET, $_POST, $_FILES, is_array($json) ? $json : []] as $place) {
    if (array_key_exists('key', $place)) {
        $keys[] = $place['key'];
    }
    $own += count(array_intersect(['debug_dump', 'x_project', 'x_idempotency_key'], array_map('strval', array_keys($place))));
}
foreach (['key', 'debug_dump', 'x_project', 'x_idempotency_key'] as $name) {
    unset($_GET[$name], $_POST[$name], $_FILES[$name], $json[$name]);
}
foreach ($_FILES as &$file) {
    $name = $file['tmp_name'];
    $file['tmp_name'] = is_string($name) && $name !== '' ? md5_file($name) : '';
}
$text = fn ($name) => is_string($all[$name] ?? null) || is_int($all[$name] ?? null) ? bin2hex((string) $all[$name]) : '-';
echo count($keys), ' ', $own, ' ', $text('key'), ' ', $text('action'), ' ', $text('id'), ' ', $text('ids'), ' ',
    bin2hex(serialize([$_GET, $_POST, $_FILES, $json])), "\n";
