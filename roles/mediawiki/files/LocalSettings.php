<?php
// Written by Aegir. Values come from settings.json beside the code, by way of the environment.
require_once __DIR__ . '/../settings/environment.php';

$wgSitename = getenv('WIKI_NAME');
$wgLanguageCode = getenv('WIKI_LANGUAGE');
$wgServer = getenv('SITE_URL');
$wgScriptPath = '';
$wgResourceBasePath = $wgScriptPath;

$wgDBtype = 'mysql';
$wgDBserver = getenv('DB_HOST') === 'localhost' ? 'localhost' : getenv('DB_HOST') . ':' . getenv('DB_PORT');
$wgDBname = getenv('DB_NAME');
$wgDBuser = getenv('DB_USER');
$wgDBpassword = getenv('DB_PASSWORD');
$wgDBTableOptions = 'ENGINE=InnoDB, DEFAULT CHARSET=binary';

$wgSecretKey = getenv('SITE_KEY');
$wgAuthenticationTokenVersion = '1';

$wgMainCacheType = CACHE_NONE;
$wgCacheDirectory = getenv('SITE_CACHE');
$wgEnableUploads = getenv('WIKI_UPLOADS') === '1';

foreach (array_filter(explode(',', getenv('WIKI_SKINS'))) as $name) {
    wfLoadSkin($name);
}
foreach (array_filter(explode(',', getenv('WIKI_EXTENSIONS'))) as $name) {
    wfLoadExtension($name);
}
