# What needs no provider to be fetched: terraform_data is built in.

variable "name" {
  type = string
}

variable "greeting" {
  type = string
}

variable "password" {
  type      = string
  sensitive = true
}

# Makes carrying out take as long as a test wants it to.
variable "seconds" {
  type    = number
  default = 0
}

resource "terraform_data" "site" {
  input = {
    greeting = var.greeting
    password = var.password
  }
}

resource "terraform_data" "name" {
  input = var.name

  provisioner "local-exec" {
    command = "sleep ${var.seconds}"
  }
}

output "address" {
  value = "https://${var.name}/"
}

output "password" {
  value     = var.password
  sensitive = true
}
