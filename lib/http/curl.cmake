find_package(CURL 7.88 REQUIRED)  # 7.88.0 and older corrupt data on shared HTTP/2 connections (curl issue 10525)
tango_library(tango_http_curl SOURCES curl_client.cpp PUBLIC tango_base PRIVATE CURL::libcurl)
