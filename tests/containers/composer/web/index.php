<?php
require __DIR__ . '/../vendor/autoload.php';
$database = new mysqli(getenv('DB_HOST'), getenv('DB_USER'), getenv('DB_PASSWORD'), getenv('DB_NAME'), (int) getenv('DB_PORT'));
echo (new Greeting\Greeting())->text(), ', and ', $database->query('SELECT 1 + 1')->fetch_row()[0];
