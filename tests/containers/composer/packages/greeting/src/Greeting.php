<?php
namespace Greeting;

final class Greeting
{
    public function text(): string
    {
        return 'Hello from a package';
    }
}
